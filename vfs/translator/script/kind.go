package script

import (
	"context"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// Kind is the kind "script".
var Kind = translator.Kind{
	Name: "script",
	Help: "Runs a Starlark file: its functions are called before and after the calls that they are named for. " +
		"file: its path. options: what the script asks for with options.get. max-steps, deadline, memory: what one run of a function may take. " +
		"table-memory: what each table may take. event-steps: max-steps of forget(event). on-error: fault answers SERVERFAULT when a function fails, pass goes on without it.",
	New: newKind,
}

func newKind(o *translator.Options) translator.Build {
	opts := Options{
		File:       o.Need("file"),
		Config:     o.Map("options"),
		MaxSteps:   uint64(o.Int("max-steps", DefaultMaxSteps, 1000, 1_000_000_000)),
		Deadline:   o.Duration("deadline", DefaultDeadline, time.Millisecond, time.Minute),
		Memory:     o.Bytes("memory", DefaultMemory, 64<<10, 1<<30),
		TableBytes: o.Bytes("table-memory", DefaultTableBytes, 64<<10, 64<<30),
		EventSteps: uint64(o.Int("event-steps", DefaultEventSteps, 1000, 1_000_000)),
		Pass:       o.Choice("on-error", "fault", "fault", "pass") == "pass",
	}
	if o.Err() != nil {
		return nil
	}
	// It is loaded to see whether it can be, from the text that the instance will have.
	var err error
	if opts.Source, err = opts.source(); err == nil {
		_, err = Load(opts)
	}
	if err != nil {
		o.Fail("file", "%v", err)
		return nil
	}
	o.Depends(string(opts.Source))
	return func(_ context.Context, env translator.Env) (translator.Layer, error) {
		mine := opts
		mine.Name, mine.Log = env.Name, env.Log
		s, err := Load(mine)
		if err != nil {
			return translator.Layer{}, err
		}
		fs, closed := s.Over(env.Below)
		forget := func() { s.event(vfs.Event{Kind: vfs.ForgetAll}) }
		return translator.Layer{FS: fs, Close: closed, Forget: forget, Counts: s.Counts}, nil
	}
}
