//go:build linux

// Command probe runs inside a guest and does there what a shell cannot: every kind of system call with its errno, a
// directory listed while it changes, files held open while their server dies. It is linked statically, so that it runs
// in any guest.
//
//	probe calls DIR         every kind of system call in DIR; one line for each, to be compared with another DIR's
//	probe fill DIR N        N empty files f0000000 … in DIR
//	probe churn DIR STOP    create and remove other files in DIR until the file STOP exists
//	probe list DIR N        fail unless DIR lists f0000000 … f(N-1) once each
//	probe hold DIR STOP T   keep files open in DIR and use them, every T, until STOP exists, then check all that was written
//	probe jam DIR N         hundreds of calls at once on N files and on new ones, whose volume may hang
//	probe pace DIR N PHASE  take the times of calls on N files and N directories by what the file PHASE says, until it says stop
//	probe steady DIR N STOP use N files, each of which holds its name, until STOP exists, while volumes go and come
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	args := os.Args[1:]
	if len(args) == 1 && args[0] == "true" { // what calls runs from the share, to see exec
		return
	}
	if len(args) < 2 {
		fail(fmt.Errorf("usage: probe calls|fill|churn|list|hold|jam|pace|steady DIR …"))
	}
	var err error
	switch verb, dir := args[0], args[1]; verb {
	case "calls":
		calls(dir)
	case "fill":
		err = fill(dir, number(args))
	case "list":
		err = list(dir, number(args))
	case "churn":
		err = churn(dir, args[2])
	case "hold":
		if len(args) < 4 {
			fail(fmt.Errorf("usage: probe hold DIR STOP PAUSE"))
		}
		var pause time.Duration
		if pause, err = time.ParseDuration(args[3]); err == nil {
			err = hold(dir, args[2], pause)
		}
	case "steady":
		if len(args) < 4 {
			fail(fmt.Errorf("usage: probe steady DIR N STOP"))
		}
		err = steady(dir, number(args), args[3])
	case "jam":
		err = jam(dir, number(args))
	case "pace":
		if len(args) < 4 {
			fail(fmt.Errorf("usage: probe pace DIR N PHASE"))
		}
		err = pace(dir, number(args), args[3])
	default:
		err = fmt.Errorf("no verb %q", verb)
	}
	if err != nil {
		fail(err)
	}
}

func number(args []string) int {
	if len(args) < 3 {
		fail(fmt.Errorf("a number is missing"))
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		fail(err)
	}
	return n
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "probe:", err)
	os.Exit(1)
}
