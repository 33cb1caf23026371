package main

import (
	"context"
	"errors"
	"net/http"

	"nhooyr.io/websocket"
)

type nhooyr struct {
	*websocket.Conn
	isClosed *bool
}

func open(url string, protocols []string) (peer, *http.Response, error) {
	options := &websocket.DialOptions{Subprotocols: protocols}
	connection, response, err := websocket.Dial(context.Background(), url, options)
	if err == nil {
		connection.SetReadLimit(16 << 20)
	}
	return nhooyr{connection, new(bool)}, response, err
}

func (self nhooyr) protocol() string { return self.Subprotocol() }

func (self nhooyr) receive() (bool, []byte, error) {
	kind, data, err := self.Read(context.Background())
	return kind == websocket.MessageText, data, err
}

func (self nhooyr) send(isText bool, data []byte) error {
	if isText {
		return self.Write(context.Background(), websocket.MessageText, data)
	}
	return self.Write(context.Background(), websocket.MessageBinary, data)
}

// Close waits for the peer's CLOSE, and keeps it to itself.
func (self nhooyr) close(code int, reason string) error {
	*self.isClosed = true
	return self.Close(websocket.StatusCode(code), reason)
}

func (self nhooyr) closed(err error) (int, interface{}, bool) {
	var end websocket.CloseError
	if *self.isClosed {
		return 0, nil, true
	}
	isClose := errors.As(err, &end)
	return int(end.Code), end.Reason, isClose
}
