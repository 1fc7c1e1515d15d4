// Renders templates with Go's own text/template over the values that Ollama gives them, to hold Luthier's reader against.
//
// In, on standard input: a JSON list of {"template", "system", "messages", "tools"}; out: a JSON list of {"text"} or {"error"}.
// The values have the names and kinds of github.com/ollama/ollama, template/template.go (0.14): a map whose Messages are pointers to
// structs, tools and arguments that write themselves as JSON, the function `json`, and missingkey=zero.
package main

import (
	"bytes"
	"encoding/json"
	"os"
	"text/template"
)

type arguments map[string]any

func (a arguments) String() string { return asJSON(a) }

type properties map[string]property

func (p properties) String() string { return asJSON(p) }

type kind []string

func (k kind) String() string {
	if len(k) == 1 {
		return k[0]
	}
	return asJSON([]string(k))
}

func (k kind) MarshalJSON() ([]byte, error) {
	if len(k) == 1 {
		return json.Marshal(k[0])
	}
	return json.Marshal([]string(k))
}

func (k *kind) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*k = kind{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(k))
}

type property struct {
	Type        kind   `json:"type,omitempty"`
	Items       any    `json:"items,omitempty"`
	Description string `json:"description,omitempty"`
	Enum        []any  `json:"enum,omitempty"`
}

type parameters struct {
	Type       string     `json:"type"`
	Required   []string   `json:"required,omitempty"`
	Properties properties `json:"properties"`
}

type function struct {
	Name        string     `json:"name"`
	Description string     `json:"description"`
	Parameters  parameters `json:"parameters"`
}

type tool struct {
	Type     string   `json:"type"`
	Function function `json:"function"`
}

type tools []tool

func (t tools) String() string { return asJSON(t) }

type call struct {
	ID       string
	Function struct {
		Index     int
		Name      string
		Arguments arguments
	}
}

type message struct {
	Role       string
	Content    string
	Thinking   string
	Images     []string
	ToolCalls  []call
	ToolName   string
	ToolCallID string
}

type asked struct {
	Template string         `json:"template"`
	System   string         `json:"system"`
	Messages []*message     `json:"messages"`
	Tools    tools          `json:"tools"`
	More     map[string]any `json:"more"`
}

func asJSON(value any) string {
	text, _ := json.Marshal(value)
	return string(text)
}

func render(each asked) map[string]string {
	made, err := template.New("").Option("missingkey=zero").Funcs(template.FuncMap{"json": asJSON}).Parse(each.Template)
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	data := map[string]any{
		"System": each.System, "Messages": each.Messages, "Tools": each.Tools, "Response": "",
		"Think": false, "ThinkLevel": "", "IsThinkSet": false,
	}
	for name, value := range each.More {
		data[name] = value
	}
	var text bytes.Buffer
	if err := made.Execute(&text, data); err != nil {
		return map[string]string{"error": err.Error()}
	}
	return map[string]string{"text": text.String()}
}

func main() {
	var given []asked
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		panic(err)
	}
	answers := make([]map[string]string, 0, len(given))
	for _, each := range given {
		answers = append(answers, render(each))
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(answers); err != nil {
		panic(err)
	}
}
