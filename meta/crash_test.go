package meta

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// crashDir is set in the child of TestKill: where its index is.
const crashDir = "SHEAF_META_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		crashChild(dir)
	}
	if dir := os.Getenv(openDir); dir != "" {
		os.Exit(openChild(dir))
	}
	os.Exit(m.Run())
}

// crashChild writes rounds without end: a node, and a listing whose length and
// version are the round. It prints what a Flush has confirmed.
func crashChild(dir string) {
	ctx := context.Background()
	s, err := Open(Options{Dir: dir, MinFree: 1, Logger: slog.New(slog.DiscardHandler)})
	for round := 1; err == nil; round++ {
		if err = s.PutNode(ctx, file(round)); err != nil {
			break
		}
		if err = s.ReplaceDir(ctx, nid(0), slices.Values(entries(0, listLen(round), round)), are(complete(round))); err != nil {
			break
		}
		if round%4 == 0 {
			if err = s.Flush(ctx); err == nil {
				fmt.Println(round)
			}
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

// listLen is beyond one request now and then, so that a kill falls into the middle.
func listLen(round int) int { return round * 389 % 2801 }

// After kill -9 what was flushed is there, what is there is a prefix of what was
// written, and a complete listing is the whole of it.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	confirmed := 0
	for kill := range 4 {
		confirmed = crashOnce(t, dir, 1+2*kill)
		s := openStore(t, Options{Dir: dir})
		if !s.Unclean() {
			t.Error("clean after a kill")
		}
		checkClean(t, s)
		last := 0
		for ; ; last++ {
			if _, ok, err := s.Node(nid(last + 1)); err != nil {
				t.Fatal(err)
			} else if !ok {
				break
			}
		}
		if last < confirmed {
			t.Errorf("kill %d: node %d is there, %d was flushed", kill, last, confirmed)
		}
		copies, err := s.Copies(nid(0))
		must(t, err)
		if len(copies) > 0 {
			round := int(copies[0].Version.Ino)
			got, _, err := s.Entries(nid(0), 0, 10_000)
			if want := entries(0, listLen(round), round); err != nil || !slices.Equal(got, want) {
				t.Errorf("kill %d: complete at %d with %d entries of %d, %v", kill, round, len(got), len(want), err)
			}
		}
		must(t, s.DeleteDir(t.Context(), nid(0)))
		for i := range last {
			must(t, s.DeleteNode(t.Context(), nid(i+1)))
		}
		must(t, s.Close())
		s = openStore(t, Options{Dir: dir})
		if s.Unclean() {
			t.Error("unclean after a close")
		}
		must(t, s.Close())
	}
	if confirmed == 0 {
		t.Error("no child got so far as to flush")
	}
}

// crashOnce runs the child until it has confirmed so many lines, kills it, and returns
// the last round it confirmed.
func crashOnce(t *testing.T, dir string, lines int) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	last := 0
	for r := bufio.NewScanner(out); lines > 0 && r.Scan(); lines-- {
		if last, err = strconv.Atoi(strings.TrimSpace(r.Text())); err != nil {
			t.Error("child:", r.Text())
		}
	}
	must(t, cmd.Process.Kill())
	if err := cmd.Wait(); err == nil {
		t.Error("the child ended by itself")
	}
	return last
}
