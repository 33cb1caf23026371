package main

import (
	"net/http"
	"time"

	"github.com/gorilla/websocket"
)

type gorilla struct{ *websocket.Conn }

func open(url string, protocols []string) (peer, *http.Response, error) {
	dialer := websocket.Dialer{EnableCompression: true, Subprotocols: protocols}
	connection, response, err := dialer.Dial(url, nil)
	return gorilla{connection}, response, err
}

func (self gorilla) protocol() string { return self.Subprotocol() }

func (self gorilla) receive() (bool, []byte, error) {
	kind, data, err := self.ReadMessage()
	return kind == websocket.TextMessage, data, err
}

func (self gorilla) send(isText bool, data []byte) error {
	if isText {
		return self.WriteMessage(websocket.TextMessage, data)
	}
	return self.WriteMessage(websocket.BinaryMessage, data)
}

func (self gorilla) close(code int, reason string) error {
	frame := websocket.FormatCloseMessage(code, reason)
	return self.WriteControl(websocket.CloseMessage, frame, time.Now().Add(time.Second))
}

func (self gorilla) closed(err error) (int, interface{}, bool) {
	self.Conn.Close()
	if end, isClose := err.(*websocket.CloseError); isClose {
		return end.Code, end.Text, true
	}
	return 0, nil, false
}
