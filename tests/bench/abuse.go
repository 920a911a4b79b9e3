package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"
)

// What one client that floods leaves the others: abuseClients clients, each with an address of its own on the loopback network and one
// connection, have the server in turn all alike, and while the last of them floods instead: with floodConns connections,
// which are written to as fast as they take it, floodBatch calls at a time, and whose replies are thrown away.
const (
	abuseClients = 16
	floodConns   = 100
	floodBatch   = 64
	// In truth clients have processors of their own. Here they have ours before the server, or a server that is never idle would
	// make them wait for one to send their next calls; the flood, which has always calls waiting, comes last.
	serverNice = "5"
	floodNice  = "10"
	// abuseOutstanding are the calls in flight of each client, if it is not said: with few of them it is
	// measured how long a client waits for a processor of ours, which the server has, to send the next ones.
	abuseOutstanding = 32
	// abuseGoal is the part of its rate beside its like that a client has to keep beside one that floods.
	abuseGoal = 0.7
)

// abuseOps are what they call: answered where it is read, by workers, and by the disk.
const abuseOps = "GETATTR,LOOKUP hit,READ 4K,WRITE 4K sync"

// abuseCell is what was measured of one procedure: calls a second of each honest client, and how long they took.
type abuseCell struct {
	name      string
	fair      []float64 // of all of them, each round's average
	beside    []float64
	worst     []float64 // of the one that had least
	fairLat   histogram
	besideLat histogram
}

// abuse measures what a client that floods leaves the others.
func (o *options) abuse(dir string, out, progress io.Writer) (err error) {
	some, err := chosen(o.ops)
	if err != nil {
		return err
	}
	p := newPeer("sheaf-1")
	p.nice = serverNice
	if err := p.start(filepath.Join(dir, "abuse"), o.sheaf, abuseClients); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	cells := make([]abuseCell, len(some))
	for round := range o.rounds {
		for i := range some {
			c := &cells[i]
			c.name = some[i].name
			fair, err := o.crowd(p, &some[i], abuseClients, &c.fairLat)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			flood, err := p.flood(&some[i])
			if err != nil {
				return err
			}
			beside, err := o.crowd(p, &some[i], abuseClients-1, &c.besideLat)
			if err = errors.Join(err, flood.stop()); err != nil {
				return fmt.Errorf("%s beside a flood: %w", c.name, err)
			}
			fair = fair[:abuseClients-1]
			c.fair = append(c.fair, average(fair))
			c.beside = append(c.beside, average(beside))
			c.worst = append(c.worst, slices.Min(beside))
		}
		fmt.Fprintf(progress, "abuse: round %d of %d\n", round+1, o.rounds)
	}
	return printAbuse(out, cells)
}

// crowd lets the first clients call for a while, and returns the calls a second of each.
func (o *options) crowd(p *peer, op *op, clients int, lat *histogram) ([]float64, error) {
	rates, errs, parts := make([]float64, clients), make([]error, clients), make([]result, clients)
	l := o.load
	l.conns = 1
	begin := time.Now()
	var wg sync.WaitGroup
	for i := range clients {
		c, err := dialAs(p.addr, i)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		wg.Go(func() {
			w := &caller{site: p.site, index: i, rnd: rand.New(rand.NewPCG(l.seed, uint64(i)))}
			parts[i], errs[i] = l.drive(c, w, op, begin)
			rates[i] = float64(parts[i].calls) / time.Since(begin).Seconds()
		})
	}
	wg.Wait()
	for i := range parts {
		lat.add(&parts[i].lat)
	}
	return rates, errors.Join(errs...)
}

// dialAs connects from the address of client i.
func dialAs(addr string, i int) (*conn, error) {
	c, err := dial(addr)
	if err != nil {
		return nil, err
	}
	if err := c.Close(); err != nil {
		return nil, err
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: clientIP(i)}, Timeout: patience}
	if c.Conn, err = d.Dial("tcp", addr); err != nil {
		return nil, fmt.Errorf("from an address of its own: %w", err)
	}
	c.in.Reset(c.Conn)
	return c, nil
}

func clientIP(i int) net.IP { return net.IPv4(127, 0, 2, byte(i+1)) }

func average(of []float64) float64 {
	sum := 0.0
	for _, v := range of {
		sum += v
	}
	return sum / float64(len(of))
}

// flood is a process that floods a server.
type flood struct {
	cmd *exec.Cmd
	in  io.WriteCloser
}

// flood starts one, as the last client.
func (p *peer) flood(o *op) (*flood, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	w := &caller{site: p.site, index: abuseClients - 1, rnd: rand.New(rand.NewPCG(1, 2))}
	var batch []byte
	for range floodBatch {
		at := len(batch)
		var s call
		batch, _ = o.next(w, &s, header(batch, 0, progNFS, o.proc))
		seal(batch, at)
	}
	f := &flood{cmd: exec.Command("nice", "-n", floodNice, self, "child-flood", p.addr, clientIP(abuseClients-1).String(), strconv.Itoa(len(batch)))}
	f.cmd.Stderr = p.said
	if f.in, err = f.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	said, err := f.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := f.cmd.Start(); err != nil {
		return nil, err
	}
	_, err = f.in.Write(batch)
	if err == nil {
		_, err = io.ReadFull(said, make([]byte, len("ready")))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the flood: %w", err), f.stop())
	}
	return f, nil
}

func (f *flood) stop() error { return errors.Join(f.in.Close(), f.cmd.Wait()) }

// runFlood is the process: it floods until its input ends.
func runFlood(args []string, in io.Reader, out io.Writer) error {
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	batch := make([]byte, n)
	if _, err := io.ReadFull(in, batch); err != nil {
		return err
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(args[1])}}
	var conns []net.Conn
	for range floodConns {
		c, err := d.Dial("tcp", args[0])
		if err != nil {
			return err
		}
		conns = append(conns, c)
	}
	for i, c := range conns {
		go pour(c, slices.Clone(batch), uint32(i)<<20)
		go func() {
			// Until the server or the end of the process ends it, which is what is to be survived.
			_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 256<<10))
		}()
	}
	fmt.Fprint(out, "ready")
	_, err = io.Copy(io.Discard, in)
	return err
}

// pour writes the batch again and again, each call with an xid of its own, as a reply cache wants it.
func pour(c net.Conn, batch []byte, xid uint32) {
	for {
		for at := 0; at < len(batch); at += 4 + int(be.Uint32(batch[at:])&^(1<<31)) {
			xid++
			be.PutUint32(batch[at+4:], xid)
		}
		if _, err := c.Write(batch); err != nil {
			return
		}
	}
}

// printAbuse writes the table, and whether the goal is met.
func printAbuse(w io.Writer, cells []abuseCell) error {
	fmt.Fprintf(w, "\n%d clients with a connection each, all alike, and while one of them floods over %d connections; calls a second of each of the others, median:\n\n", abuseClients, floodConns)
	fmt.Fprintf(w, "| procedure | all alike | beside the flood | part kept | of who has least | p99 alike, ms | p99 beside, ms |\n|---|---:|---:|---:|---:|---:|---:|\n")
	var errs []error
	for i := range cells {
		c := &cells[i]
		kept := make([]float64, len(c.fair))
		least := make([]float64, len(c.fair))
		for r := range c.fair {
			kept[r], least[r] = c.beside[r]/c.fair[r], c.worst[r]/c.fair[r]
		}
		fmt.Fprintf(w, "| %s | %.0f | %.0f | %.2f [%.2f … %.2f] | %.2f | %.1f | %.1f |\n", c.name, median(c.fair), median(c.beside),
			median(kept), slices.Min(kept), slices.Max(kept), median(least),
			micros(c.fairLat.quantile(0.99))/1000, micros(c.besideLat.quantile(0.99))/1000)
		if median(kept) < abuseGoal {
			errs = append(errs, fmt.Errorf("%s: %.2f of the rate is kept beside a flood, at least %.1f is the goal", c.name, median(kept), abuseGoal))
		}
	}
	fmt.Fprintln(w)
	return errors.Join(errs...)
}
