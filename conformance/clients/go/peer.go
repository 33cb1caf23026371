// What the two clients of Go share; the protocol of lines is in scenarios.py.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const noCode = 1005

// A connection of one of the libraries; `closed` tells the code and the reason an error of `receive` holds.
type peer interface {
	protocol() string
	receive() (isText bool, data []byte, err error)
	send(isText bool, data []byte) error
	close(code int, reason string) error
	closed(err error) (code int, reason interface{}, isClose bool)
}

type values map[string]interface{}

func play(fields []string, seen values) {
	var protocols []string
	if fields[1] != "" {
		protocols = strings.Split(fields[1], ",")
	}
	count, _ := strconv.Atoi(fields[3])
	code, err := strconv.Atoi(fields[4])
	if err != nil {
		code = noCode
	}
	connection, response, err := open(fields[0], protocols)
	if err != nil {
		if response == nil || response.StatusCode == http.StatusSwitchingProtocols {
			seen["error"] = err.Error()
			return
		}
		body, _ := io.ReadAll(response.Body)
		seen["status"], seen["body"] = response.StatusCode, string(body)
		return
	}
	seen["protocol"] = connection.protocol()
	seen["extensions"] = response.Header.Get("Sec-WebSocket-Extensions")
	if fields[2] != "" {
		connection.send(true, []byte(fields[2]))
	}
	messages, digest, started := 0, sha256.New(), time.Time{}
	for {
		isText, data, err := connection.receive()
		if err != nil {
			var isClose bool
			if seen["code"], seen["reason"], isClose = connection.closed(err); !isClose {
				seen["error"] = err.Error()
			}
			break
		}
		messages++
		digest.Write(data)
		if count == 0 {
			err = connection.send(isText, data)
		} else if messages == count {
			started = time.Now()
			err = connection.close(code, fields[5])
		}
		if err != nil {
			seen["error"] = err.Error()
			break
		}
	}
	if !started.IsZero() {
		seen["seconds"] = time.Since(started).Seconds()
	}
	seen["messages"], seen["sha256"] = messages, hex.EncodeToString(digest.Sum(nil))
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		seen := values{}
		play(strings.Split(lines.Text(), "\t"), seen)
		json.NewEncoder(os.Stdout).Encode(seen)
	}
}
