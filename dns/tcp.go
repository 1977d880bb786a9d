package dns

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

func (s *Server) acceptTCP() {
	for {
		conn, err := s.tcp.AcceptTCP()
		switch {
		case err != nil:
			if !s.pause(err, "accept a TCP connection") {
				return
			}
		case !s.admit(conn):
			s.closeConn(conn)
		default:
			s.running.Go(func() {
				defer s.release(conn)
				if err := s.serveTCP(conn); err != nil {
					s.logger.Debug("dns: TCP connection", slog.String("client", conn.RemoteAddr().String()), slog.Any("error", err))
				}
			})
		}
	}
}

// admit takes a connection in; false when there are too many, or the server is closing.
func (s *Server) admit(conn *net.TCPConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if int64(len(s.conns)) >= s.connsMax {
		s.handler.counters.refused.Add(1)
		return false
	}
	s.conns[conn] = struct{}{}
	s.handler.counters.open.Add(1)
	return true
}

func (s *Server) release(conn *net.TCPConn) {
	s.mu.Lock()
	delete(s.conns, conn)
	s.mu.Unlock()
	s.handler.counters.open.Add(-1)
	s.closeConn(conn)
}

func (s *Server) closeConn(conn *net.TCPConn) {
	if err := conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		s.logger.Debug("dns: close a TCP connection", slog.Any("error", err))
	}
}

// serveTCP answers the queries of a connection until the client ends it or is idle for too long. Queries may follow one
// another without waiting (RFC 7766 section 6.2.1.1): their replies are collected and sent when no further query waits.
// They come in the order of the queries, but for those that have to be waited for, which hold up no other (section 7).
func (s *Server) serveTCP(conn *net.TCPConn) error {
	in, out := bufio.NewReaderSize(conn, 2+queryBytesMax), &tcpReplies{s: s, conn: conn, out: bufio.NewWriter(conn)}
	defer out.waiting.Wait()
	var query, reply []byte
	for {
		if !holdsQuery(in) {
			if err := out.flush(); err != nil {
				return err
			}
		}
		var err error
		if query, err = s.readTCP(conn, in, query); err != nil {
			return errors.Join(withoutEnd(err), out.flush())
		}
		var later *waiting
		if reply, later = s.handler.reply(reply[:0], query, TCP); later != nil {
			out.sendLater(later)
			continue
		}
		if len(reply) == 0 {
			return out.flush() // a client that sends no queries is none
		}
		if err := out.write(reply); err != nil {
			return err
		}
	}
}

// holdsQuery tells whether a whole query was read already. Half of one does not count: its client may be waiting
// for the replies to the others.
func holdsQuery(in *bufio.Reader) bool {
	if in.Buffered() < 2 {
		return false
	}
	length, err := in.Peek(2) // it is there: this reads nothing
	return err == nil && in.Buffered() >= 2+int(binary.BigEndian.Uint16(length))
}

var errQueryTooLong = errors.New("query is longer than any that makes sense")

// readTCP reads one query into buf, or a larger one.
func (s *Server) readTCP(conn *net.TCPConn, in *bufio.Reader, buf []byte) ([]byte, error) {
	if err := s.setReadDeadline(conn); err != nil {
		return nil, err
	}
	var length [2]byte
	if _, err := io.ReadFull(in, length[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n > queryBytesMax {
		return nil, errQueryTooLong
	}
	if cap(buf) < n {
		buf = make([]byte, max(n, minimumBytes))
	}
	buf = buf[:n]
	_, err := io.ReadFull(in, buf)
	return buf, err
}

// setReadDeadline gives the client its time for one query, unless the server is closing: then its deadline stands.
func (s *Server) setReadDeadline(conn *net.TCPConn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	return conn.SetReadDeadline(time.Now().Add(s.idleTimeout))
}

// tcpReplies is what goes back through a connection.
type tcpReplies struct {
	s       *Server
	conn    *net.TCPConn
	waiting sync.WaitGroup // of replies that are sent later

	mu  sync.Mutex
	out *bufio.Writer // guarded by mu
}

func (c *tcpReplies) write(reply []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.s.idleTimeout)); err != nil {
		return err
	}
	var length [2]byte
	binary.BigEndian.PutUint16(length[:], uint16(len(reply)))
	if _, err := c.out.Write(length[:]); err != nil {
		return err
	}
	_, err := c.out.Write(reply)
	return err
}

func (c *tcpReplies) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.Buffered() == 0 {
		return nil
	}
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.s.idleTimeout)); err != nil {
		return err
	}
	return c.out.Flush()
}

// sendLater sends a reply once it is there. A connection that takes none ends, and its reader sees that.
func (c *tcpReplies) sendLater(w *waiting) {
	c.waiting.Go(func() {
		if errors.Join(c.write(w.reply(c.s.waits, nil)), c.flush()) != nil {
			c.s.closeConn(c.conn)
		}
	})
}

// withoutEnd forgets an error that is an ordinary end of a connection.
func withoutEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
