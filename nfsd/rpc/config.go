package rpc

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// complete checks the configuration and fills in the defaults.
func (c *Config) complete() error {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	var errs []error
	const payload = 1<<20 + 4096 // wtmax or rtmax and what is around it
	errs = append(errs,
		orDefault("MaxRecord", &c.MaxRecord, payload),
		orDefault("MaxReply", &c.MaxReply, payload),
		orDefault("MaxConns", &c.MaxConns, 1000),
		orDefault("MaxCalls", &c.MaxCalls, 128),
		orDefault("MaxConnBytes", &c.MaxConnBytes, 32<<20),
		orDefault("MaxBytes", &c.MaxBytes, 256<<20),
		orDefault("MaxWorkers", &c.MaxWorkers, 1024),
		orDefault("MaxAllCalls", &c.MaxAllCalls, 16<<10),
		orDefault("ClientConns", &c.ClientConns, c.MaxConns),
		orDefault("ClientCalls", &c.ClientCalls, 2048),
		orDefault("ClientBytes", &c.ClientBytes, c.MaxBytes/2),
		orDefault("ClientWorkers", &c.ClientWorkers, min(256, c.MaxWorkers)),
		orDefault("MaxSlow", &c.MaxSlow, 1024),
		orDefault("SlowAfter", &c.SlowAfter, 250*time.Millisecond),
		orDefault("ReplyCache", &c.ReplyCache, 16<<20),
		orDefault("RecordTimeout", &c.RecordTimeout, 60*time.Second),
		orDefault("WriteTimeout", &c.WriteTimeout, 60*time.Second),
		orDefault("IdleTimeout", &c.IdleTimeout, 6*time.Minute),
		orDefault("EvictIdle", &c.EvictIdle, 10*time.Second),
	)
	if c.MaxRecord > maxRecordLimit || c.MaxReply > maxRecordLimit {
		errs = append(errs, fmt.Errorf("rpc: MaxRecord %d or MaxReply %d is above %d", c.MaxRecord, c.MaxReply, maxRecordLimit))
	}
	return errors.Join(append(errs, checkPrograms(c.Programs))...)
}

// maxRecordLimit bounds MaxRecord and MaxReply, in bytes: sums of a few of them
// must fit an int of 32 bits.
const maxRecordLimit = 64 << 20

// orDefault fills in the default of a limit and refuses a negative one.
func orDefault[T int | int64 | time.Duration](name string, v *T, def T) error {
	if *v < 0 {
		return fmt.Errorf("rpc: %s is negative: %v", name, *v)
	}
	if *v == 0 {
		*v = def
	}
	return nil
}

// checkPrograms refuses what dispatch could not tell apart.
func checkPrograms(ps []*Program) error {
	seen := make(map[uint32]bool)
	for _, p := range ps {
		if seen[p.Prog] {
			return fmt.Errorf("rpc: program %d is there twice", p.Prog)
		}
		seen[p.Prog] = true
		if len(p.Versions) == 0 {
			return fmt.Errorf("rpc: program %d has no version", p.Prog)
		}
		for i := 1; i < len(p.Versions); i++ {
			if p.Versions[i].Vers <= p.Versions[i-1].Vers {
				return fmt.Errorf("rpc: versions of program %d are not in ascending order", p.Prog)
			}
		}
	}
	return nil
}
