package share

import (
	"go.yaml.in/yaml/v3"

	"sheaf/vfs/translator/script"
)

// ScriptCheck is what CheckScript found.
type ScriptCheck struct {
	Version   int      `json:"version"`
	File      string   `json:"file"`
	Functions []string `json:"functions"` // those that the server calls
}

// CheckScript loads a script as a layer of kind script would, and says what it defines. options are what the
// configuration would give it, as keys and values in YAML or JSON; empty: none. A script that cannot be loaded is a mistake
// like one in the configuration (IsConfig).
func CheckScript(file, options string) (*ScriptCheck, error) {
	var given map[string]any
	if err := yaml.Unmarshal([]byte(options), &given); err != nil {
		return nil, &ConfigError{Key: "options", Problem: err.Error(), Do: "write them like {ttl: 5, names: [a, b]}"}
	}
	s, err := script.Load(script.Options{File: file, Config: given})
	if err != nil {
		return nil, &ConfigError{Problem: err.Error()}
	}
	return &ScriptCheck{Version: APIVersion, File: file, Functions: s.Defined()}, nil
}
