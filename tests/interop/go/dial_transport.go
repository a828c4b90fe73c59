//go:build transport

package main

import (
	"context"
	"net/http"

	"github.com/quic-go/webtransport-go"
)

const closesAtOnce = false

// Since 0.12.
func dial(ctx context.Context, url string) (*http.Response, *webtransport.Session, error) {
	transport := &webtransport.Transport{TLSClientConfig: tlsSetup}
	return transport.Dial(ctx, url, nil)
}
