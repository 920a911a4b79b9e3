//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"sheaf/tests/e2e/guest"
)

// How long a script may take.
const (
	scriptLimit = 15 * time.Minute
	quickLimit  = time.Minute
)

// nullCount is how many empty calls are made to know how long one takes.
const nullCount = 2000

// measurement is a run.
type measurement struct {
	*options
	guest    *guest.Guest
	shared   string // folder that host and guest see
	tree     tree
	report   *report
	progress io.Writer
}

// all gives every workload to every server in each round.
func (m *measurement) all(ctx context.Context, some []workload, servers []*server) error {
	for round := range m.rounds {
		for _, s := range servers {
			if err := m.null(s); err != nil {
				return err
			}
		}
		for at, w := range some {
			for i := range servers {
				if err := ctx.Err(); err != nil {
					return err
				}
				s := servers[(i+round+at)%len(servers)]
				c := m.report.at(w.name, s.name)
				if c.err != nil { // it is not asked for it again
					continue
				}
				if err := m.one(w, s, c); err != nil {
					if ctx.Err() != nil { // the guest was stopped under it
						return ctx.Err()
					}
					c.err = fmt.Errorf("%s on %s: %w", w.name, s.name, err)
					fmt.Fprintln(m.progress, c.err)
					continue
				}
				fmt.Fprintf(m.progress, "round %d: %s on %s: %v\n", round+1, w.name, s.name, c.took[len(c.took)-1])
			}
		}
	}
	return nil
}

// null measures how long an empty call takes the guest.
func (m *measurement) null(s *server) error {
	out, err := m.guest.Check(quickLimit, fmt.Sprintf("%s/bench child-null %s:%d %d", m.shared, guest.HostAddr, s.Port, nullCount))
	if err != nil {
		return err
	}
	took, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		return fmt.Errorf("child-null said: %w", err)
	}
	if before, ok := m.report.null[s.name]; !ok || time.Duration(took) < before {
		m.report.null[s.name] = time.Duration(took)
	}
	return nil
}

// The lines between which a script prints what is looked at here.
const (
	tookMark  = "== took "
	afterMark = "== after"
)

// timed is a script around one that takes the time.
const timed = `
took=; cat /proc/self/mountstats >/tmp/stats
begin=$EPOCHREALTIME
%s
end=$EPOCHREALTIME
: ${took:=$((${end/./} - ${begin/./}))}
echo "` + tookMark + `$took"; cat /tmp/stats; echo "` + afterMark + `"; cat /proc/self/mountstats
`

// one measures a workload on a server once.
func (m *measurement) one(w workload, s *server, c *cell) error {
	head := m.variables(w, s) + m.setup()
	prepare := head + "mountpoint -q $P || { " + s.mount() + "}\n" + w.prepare + "\ncd /\n"
	if !w.warm {
		prepare += s.mount()
	}
	if _, err := m.guest.Check(scriptLimit, prepare); err != nil {
		return err
	}
	before, err := s.CPU()
	if err != nil {
		return err
	}
	run := strings.ReplaceAll(w.run, "PAGES", strconv.Itoa(m.pages))
	out, err := m.guest.Check(scriptLimit, head+fmt.Sprintf(timed, run))
	if err != nil {
		return err
	}
	after, err := s.CPU()
	if err != nil {
		return err
	}
	if err := c.add(out, s.point(), after-before); err != nil {
		return err
	}
	if w.check != "" {
		_, err = m.guest.Check(scriptLimit, head+s.mount()+w.check)
	}
	return err
}

// variables are what scripts are told. Each server has a PHP of its own, and another with opcache.
func (m *measurement) variables(w workload, s *server) string {
	port := s.Port
	if strings.Contains(w.name, "opcache") {
		port++
	}
	return fmt.Sprintf("P=%s S=%s PORT=%d NEEDLES=%d TREE=%s\n", s.point(), m.shared, port, m.tree.needles, m.tree.sum)
}
