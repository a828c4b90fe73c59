// Features with webtransport-go. One source for all its versions: dial_*.go has what differs, and each
// version its own module file (0.10.mod and so on; go.mod is the newest).
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/quic-go/webtransport-go"
)

const (
	library  = "github.com/quic-go/webtransport-go"
	patience = 18 * time.Second
)

var (
	target   = flag.String("url", "", "where the server is")
	ca       = flag.String("ca", "", "file with its certificate")
	_        = flag.String("hash", "", "hash of the certificate; not used")
	tlsSetup *tls.Config
)

// What an API does not have.
type none struct{ why string }

func (n none) Error() string { return n.why }

// A pass with something to say.
type remark struct{ why string }

func (r remark) Error() string { return r.why }

type feature struct {
	name string
	run  func(ctx context.Context, s *webtransport.Session) error
	// Instead of run, for what needs more than one session, or none.
	whole func(ctx context.Context) error
}

func main() {
	flag.Parse()
	pem, err := os.ReadFile(*ca)
	if err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	tlsSetup = &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: []string{"h3"}}
	tell(map[string]string{"version": version()})
	for _, f := range []feature{
		{name: "connect", run: func(context.Context, *webtransport.Session) error { return nil }},
		{name: "bidi", run: bidi},
		{name: "uni", run: uni},
		{name: "server_bidi", run: serverBidi},
		{name: "server_uni", run: serverUni},
		{name: "datagram", run: datagram},
		{name: "reset", run: reset},
		{name: "stop", run: stop},
		{name: "server_reset", run: serverReset},
		{name: "server_stop", run: serverStop},
		{name: "close", whole: closing},
		{name: "server_close", run: serverClose},
		{name: "reject", whole: reject},
		{name: "drain", whole: func(context.Context) error { return none{"the API does not tell"} }},
	} {
		result, why := try(f)
		tell(map[string]string{"feature": f.name, "result": result, "why": why})
	}
}

func tell(line map[string]string) {
	text, _ := json.Marshal(line)
	fmt.Println(string(text))
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == library {
			return module.Version
		}
	}
	return ""
}

// One feature, within its time even if a call of the library does not come back.
func try(f feature) (string, string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		if f.whole != nil {
			done <- f.whole(ctx)
			return
		}
		done <- inSession(ctx, f.name, func(s *webtransport.Session) error { return f.run(ctx, s) })
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = errors.New("no answer")
	}
	var missing none
	var passed remark
	switch {
	case err == nil:
		return "pass", ""
	case errors.As(err, &missing):
		return "none", missing.why
	case errors.As(err, &passed):
		return "pass", passed.why
	}
	return "fail", err.Error()
}

func inSession(ctx context.Context, key string, run func(*webtransport.Session) error) error {
	response, s, err := dial(ctx, *target+"?key="+key)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	defer s.CloseWithError(0, "")
	return run(s)
}

func random(n int) []byte {
	data := make([]byte, n)
	rand.Read(data)
	return data
}

func expect(got, want []byte) error {
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%d other bytes came: %.60q", len(got), got)
	}
	return nil
}

// Opens a stream, writes all of it with its end meanwhile, and returns what comes back.
func ask(ctx context.Context, s *webtransport.Session, data []byte) ([]byte, error) {
	stream, err := s.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	go func() {
		stream.Write(data)
		stream.Close()
	}()
	return io.ReadAll(stream)
}

// Opens a stream with this command, and leaves it open.
func command(ctx context.Context, s *webtransport.Session, line string) (*webtransport.Stream, error) {
	stream, err := s.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	_, err = stream.Write([]byte(line))
	return stream, err
}

func bidi(ctx context.Context, s *webtransport.Session) error {
	data := random(1_000_000)
	got, err := ask(ctx, s, append([]byte("echo\n"), data...))
	if err != nil {
		return err
	}
	return expect(got, data)
}

func uni(ctx context.Context, s *webtransport.Session) error {
	data := random(100_000)
	stream, err := s.OpenUniStreamSync(ctx)
	if err != nil {
		return err
	}
	go func() {
		stream.Write(data)
		stream.Close()
	}()
	answer, err := s.AcceptUniStream(ctx)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(answer)
	if err != nil {
		return err
	}
	return expect(got, data)
}

func serverBidi(ctx context.Context, s *webtransport.Session) error {
	asked, err := command(ctx, s, "bidi\n")
	if err != nil {
		return err
	}
	opened, err := s.AcceptStream(ctx)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(opened)
	if err == nil {
		err = expect(got, []byte("hello"))
	}
	if err != nil {
		return err
	}
	opened.Write([]byte("there"))
	opened.Close()
	if got, err = io.ReadAll(asked); err != nil {
		return err
	}
	return expect(got, []byte("got:there"))
}

func serverUni(ctx context.Context, s *webtransport.Session) error {
	if _, err := command(ctx, s, "uni\n"); err != nil {
		return err
	}
	opened, err := s.AcceptUniStream(ctx)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(opened)
	if err != nil {
		return err
	}
	return expect(got, []byte("hello"))
}

func datagram(ctx context.Context, s *webtransport.Session) error {
	for ctx.Err() == nil { // one may be lost
		if err := s.SendDatagram([]byte("ping")); err != nil {
			return err
		}
		second, cancel := context.WithTimeout(ctx, time.Second)
		got, err := s.ReceiveDatagram(second)
		cancel()
		if err == nil {
			return expect(got, []byte("ping"))
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	return ctx.Err()
}

// A stream of which something has been echoed.
func started(ctx context.Context, s *webtransport.Session) (*webtransport.Stream, error) {
	stream, err := command(ctx, s, "echo\nx")
	if err != nil {
		return nil, err
	}
	_, err = io.ReadFull(stream, make([]byte, 1))
	return stream, err
}

type seen struct {
	Resets, Stops []int
	Disconnect    *struct {
		Code       *int
		Reason, By string
	}
}

func look(ctx context.Context, s *webtransport.Session, key string) (told seen, text []byte, err error) {
	if text, err = ask(ctx, s, []byte("seen "+key+"\n")); err == nil {
		err = json.Unmarshal(text, &told)
	}
	return
}

func reset(ctx context.Context, s *webtransport.Session) error {
	stream, err := started(ctx, s)
	if err != nil {
		return err
	}
	stream.CancelWrite(42)
	told, text, err := look(ctx, s, "reset")
	if err == nil && (len(told.Resets) != 1 || told.Resets[0] != 42) {
		err = fmt.Errorf("the application saw %s", text)
	}
	return err
}

func stop(ctx context.Context, s *webtransport.Session) error {
	stream, err := started(ctx, s)
	if err != nil {
		return err
	}
	stream.CancelRead(43)
	told, text, err := look(ctx, s, "stop")
	if err == nil && (len(told.Stops) != 1 || told.Stops[0] != 43) {
		err = fmt.Errorf("the application saw %s", text)
	}
	return err
}

func expectCode(err error, want webtransport.StreamErrorCode) error {
	var canceled *webtransport.StreamError
	if errors.As(err, &canceled) && canceled.ErrorCode == want && canceled.Remote {
		return nil
	}
	return fmt.Errorf("not a stream error with code %d: %v", want, err)
}

func serverReset(ctx context.Context, s *webtransport.Session) error {
	stream, err := command(ctx, s, "reset 44\n")
	if err != nil {
		return err
	}
	_, err = io.ReadAll(stream)
	return expectCode(err, 44)
}

func serverStop(ctx context.Context, s *webtransport.Session) error {
	stream, err := command(ctx, s, "stop 45\n")
	for err == nil && ctx.Err() == nil { // until it is told
		_, err = stream.Write([]byte("more"))
		time.Sleep(time.Millisecond)
	}
	return expectCode(err, 45)
}

// Where the library closes the connection in the same moment, the close capsule has most often not been
// sent then. So this is tried until it was.
func closing(ctx context.Context) (err error) {
	if !closesAtOnce {
		return closeOnce(ctx)
	}
	for tries := 0; tries < 100; tries++ {
		if err = closeOnce(ctx); err == nil {
			return remark{"the library closes the connection in the same moment, most often before it has " +
				"sent the code: tried until it had"}
		}
	}
	return err
}

func closeOnce(ctx context.Context) error {
	_, s, err := dial(ctx, *target+"?key=close")
	if err != nil {
		return err
	}
	if err := s.CloseWithError(7, "bye"); err != nil {
		return err
	}
	return inSession(ctx, "close-asked", func(s *webtransport.Session) error {
		told, text, err := look(ctx, s, "close")
		end := told.Disconnect
		if err == nil && (end == nil || end.Code == nil || *end.Code != 7 || end.Reason != "bye" ||
			end.By != "client") {
			err = fmt.Errorf("the application saw %s", text)
		}
		return err
	})
}

func serverClose(ctx context.Context, s *webtransport.Session) error {
	if _, err := command(ctx, s, "close 8 so long\n"); err != nil {
		return err
	}
	_, err := s.AcceptStream(ctx)
	var end *webtransport.SessionError
	if errors.As(err, &end) && end.ErrorCode == 8 && end.Message == "so long" && end.Remote {
		return nil
	}
	return fmt.Errorf("not a session error with code 8 and 'so long': %v", err)
}

func reject(ctx context.Context) error {
	response, _, err := dial(ctx, *target+"-none")
	if err == nil {
		return errors.New("there is a session")
	}
	if response == nil {
		return err
	}
	if response.StatusCode != http.StatusNotFound {
		return fmt.Errorf("status %d: %v", response.StatusCode, err)
	}
	return nil
}
