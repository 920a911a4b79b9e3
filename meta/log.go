package meta

import (
	"fmt"
	"log/slog"
	"strings"
)

// logger takes Badger's messages. What it calls information is our debugging.
type logger struct{ log *slog.Logger }

func (l *logger) Errorf(format string, args ...any)   { l.log.Error(message(format, args)) }
func (l *logger) Warningf(format string, args ...any) { l.log.Warn(message(format, args)) }
func (l *logger) Infof(format string, args ...any)    { l.log.Debug(message(format, args)) }
func (l *logger) Debugf(format string, args ...any)   { l.log.Debug(message(format, args)) }

func message(format string, args []any) string {
	return "badger: " + strings.TrimSpace(fmt.Sprintf(format, args...))
}
