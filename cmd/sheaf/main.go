// Command sheaf serves several directories as one NFSv3 share.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-stop
		// Before anybody can know of the first signal the second one ends the process.
		signal.Reset(syscall.SIGINT, syscall.SIGTERM)
		cancel()
	}()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	os.Exit(run(ctx, os.Args[1:], &streams{Out: os.Stdout, Err: os.Stderr, Reload: reload}))
}
