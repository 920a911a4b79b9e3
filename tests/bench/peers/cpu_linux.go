package peers

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// CPU is the time that the server's processes have used, all threads of them, with that in system calls.
func (s *Server) CPU() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range s.Pids() {
		t, err := CPUTime(pid)
		if err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}

// CPUTime is the CPU time a process has used: its process clock, which counts all threads,
// those that ended too, in nanoseconds (clock_getcpuclockid(3) of the pid).
func CPUTime(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &ts); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}
