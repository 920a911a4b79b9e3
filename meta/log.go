package meta

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// logger takes Badger's messages. What it calls information is our debugging.
type logger struct{ log *slog.Logger }

func (l *logger) Errorf(format string, args ...any)   { l.say(slog.LevelError, format, args) }
func (l *logger) Warningf(format string, args ...any) { l.say(slog.LevelWarn, format, args) }
func (l *logger) Infof(format string, args ...any)    { l.say(slog.LevelDebug, format, args) }
func (l *logger) Debugf(format string, args ...any)   { l.say(slog.LevelDebug, format, args) }

func (l *logger) say(level slog.Level, format string, args []any) {
	ctx := context.Background() // Badger gives none
	if l.log.Enabled(ctx, level) {
		l.log.Log(ctx, level, "badger", "said", strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}
