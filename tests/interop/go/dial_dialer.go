//go:build !transport

package main

import (
	"context"
	"net/http"

	"github.com/quic-go/webtransport-go"
)

// It closes the connection when the session is closed, without waiting for what it has to send.
const closesAtOnce = true

// Until 0.11.
func dial(ctx context.Context, url string) (*http.Response, *webtransport.Session, error) {
	dialer := &webtransport.Dialer{TLSClientConfig: tlsSetup}
	return dialer.Dial(ctx, url, nil)
}
