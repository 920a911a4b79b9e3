package main

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// A progress shows on a terminal how far something long has come; elsewhere it shows nothing. Errors of
// the terminal are nobody's concern. Its methods are for one goroutine.
type progress struct {
	bar   *progressbar.ProgressBar // nil: there is no terminal
	whole int64                    // as the bar has it
}

// progressEvery is how often the terminal is written to, at most.
const progressEvery = 100 * time.Millisecond

// newProgress shows progress on w if that is a terminal.
func newProgress(w io.Writer) *progress {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return &progress{}
	}
	return &progress{newBar(w), -1}
}

// newBar is one of unknown length. Its spinner turns only when it is told something: by itself it would draw
// from a goroutine of its own, which Clear does not keep off.
func newBar(w io.Writer) *progressbar.ProgressBar {
	return progressbar.NewOptions64(-1, progressbar.OptionSetWriter(w), progressbar.OptionThrottle(progressEvery),
		progressbar.OptionSetWidth(20), progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(false), progressbar.OptionSetSpinnerChangeInterval(0),
		progressbar.OptionClearOnFinish(), progressbar.OptionUseANSICodes(true))
}

// at shows a text and how much of a whole is done; the whole is -1 if it is not known.
func (p *progress) at(text string, done, whole int64) {
	if p.bar == nil {
		return
	}
	p.bar.Describe(text)
	if whole != p.whole {
		p.whole = whole
		p.bar.ChangeMax64(whole)
	}
	_ = p.bar.Set64(done)
}

// clear makes room for a line of something else.
func (p *progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

// end takes the progress from the terminal.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Exit()
		_ = p.bar.Clear()
	}
}
