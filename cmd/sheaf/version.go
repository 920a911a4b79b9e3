package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"sheaf/cmd/sheaf/share"
)

func newVersion(io *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		if *asJSON {
			return printJSON(io.Out, map[string]any{
				"version": version(), "go": runtime.Version(),
				"os": runtime.GOOS, "arch": runtime.GOARCH, "api": share.APIVersion,
			})
		}
		_, err := fmt.Fprintf(io.Out, "sheaf %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return err
	}
	return cmd
}

// version is the module's version as the build recorded it: a tag, or a commit's
// time and hash.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}
