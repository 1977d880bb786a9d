package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/rollcall/rollcall/client"
)

// Completion is done here and not in the shells: a script hands the words of the line to "rollcall __complete", which
// walks the same model that parses them. So a flag that is added is offered, and the scripts stay as they are.

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"The shell: bash, zsh or fish."`
}

// Help teaches by example.
func (completionCmd) Help() string {
	return `Examples:

    source <(rollcall completion bash)                                      in ~/.bashrc, or once in a terminal
    source <(rollcall completion zsh)                                       in ~/.zshrc, behind compinit
    rollcall completion fish > ~/.config/fish/completions/rollcall.fish

Commands, flags and their values are offered, and what a server knows: keys, a level at a time, services, sessions,
namespaces and servers. Where none answers within a second, these are missing.`
}

// Run writes a script.
func (c completionCmd) Run(s *session) error {
	return s.sayf("%s", strings.TrimSpace(completionScripts[c.Shell]))
}

// completionScripts ask "rollcall __complete" with the words behind the program's name up to the cursor. Each line of
// the answer is a candidate for the last word, a tab, and what it is. Without any, the shell offers files.
var completionScripts = map[string]string{
	"bash": `
_rollcall() {
    local rest=${COMP_LINE:0:COMP_POINT} words=() word cut= line i n
    rest=${rest#*"${COMP_WORDS[0]}"}
    # Bash splits words at =, : and @ too, and wants only the part behind the last of them.
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]} n=${#words[@]}
        if ((n)) && [[ $rest != [[:space:]]* ]]; then
            cut=${words[n-1]}
            words[n-1]+=$word
        else
            cut= n=$((n + 1))
            words+=("$word")
        fi
        [[ $word == *[!=:@]* ]] || cut=${words[n-1]}
        rest=${rest#*"$word"}
    done
    COMPREPLY=()
    while IFS= read -r line; do
        line=${line%%$'\t'*}
        # What a level ends with is not the end of the word.
        [[ $line == */ || $line == *= ]] && compopt -o nospace 2>/dev/null
        COMPREPLY+=("$(printf '%q' "${line#"$cut"}")")
    done < <("${COMP_WORDS[0]}" __complete -- "${words[@]}" 2>/dev/null)
}
complete -o default -F _rollcall rollcall
`,
	"zsh": `
#compdef rollcall
_rollcall() {
    local line
    local -a levels words_ levels_shown words_shown
    for line in "${(@f)$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        [[ -z $line ]] && continue
        local word=${line%%$'\t'*} about=""
        [[ $line == *$'\t'* ]] && about="  -- ${line#*$'\t'}"
        if [[ $word == */ || $word == *= ]]; then
            levels+=("$word") levels_shown+=("$word$about")
        else
            words_+=("$word") words_shown+=("$word$about")
        fi
    done
    if (( ! ${#levels} && ! ${#words_} )); then
        _files
        return
    fi
    compadd -l -S '' -d levels_shown -a levels
    compadd -l -d words_shown -a words_
}
compdef _rollcall rollcall
`,
	"fish": `
function __rollcall_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found ($words[1] __complete -- $words[2..-1] 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c rollcall -f -a '(__rollcall_complete)'
`,
}

// completeCmd gives the candidates for the last word of a command line.
type completeCmd struct {
	Words []string `arg:"" optional:"" passthrough:"" help:"The words behind the program's name, up to the cursor."`
}

// Run writes the candidates. It never fails: a shell could only spoil the line with that.
func (c completeCmd) Run(ctx context.Context, s *session, k *kong.Kong) error {
	words := c.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	if len(words) == 0 {
		words = []string{""}
	}
	p := newCompletion(s, k.Model.Node)
	for _, found := range p.complete(ctx, words) {
		line := found.word
		if found.about != "" {
			line += "\t" + found.about
		}
		if err := s.sayf("%s", line); err != nil {
			return err
		}
	}
	return nil
}

// candidate is a word that may stand at the cursor.
type candidate struct{ word, about string }

// completion is a walk along the words of a command line.
type completion struct {
	session *session // with the server and the namespace that the words name
	at      *kong.Node
	given   []string               // positionals so far
	set     map[string]string      // values of flags so far, by name
	flags   map[string]*kong.Flag  // by "--name" and "-n"
	used    map[*kong.Flag]bool    // those given
	plain   bool                   // behind "--", where nothing is a flag
	sources map[string]completions // by kind
}

// completions finds what a word may go on as.
type completions func(ctx context.Context, s *session, word string) []candidate

func newCompletion(s *session, root *kong.Node) *completion {
	p := &completion{session: s, at: root, set: map[string]string{}, used: map[*kong.Flag]bool{}, flags: flagsOf(root)}
	p.sources = map[string]completions{
		"keys": completeKeys, "services": completeServices, "sessions": completeSessions, "namespaces": completeNamespaces,
		"members": completeMembers, "values": completeValues, "nodes": completeNodes, "instances": p.completeInstances, "checks": p.completeChecks,
	}
	return p
}

func flagsOf(n *kong.Node) map[string]*kong.Flag {
	all := map[string]*kong.Flag{}
	for _, group := range n.AllFlags(true) {
		for _, f := range group {
			all["--"+f.Name] = f
			if f.Short != 0 {
				all["-"+string(f.Short)] = f
			}
		}
	}
	return all
}

// complete gives the candidates for the last word.
func (p *completion) complete(ctx context.Context, words []string) []candidate {
	last := words[len(words)-1]
	words = words[:len(words)-1]
	for i := 0; i < len(words); i++ {
		word := words[i]
		if !p.isFlag(word) {
			p.step(word)
			continue
		}
		name, value, has := strings.Cut(word, "=")
		f := p.flags[name]
		switch {
		case f == nil || f.IsBool():
		case has:
			p.take(f, value)
		case i+1 < len(words):
			i++
			p.take(f, words[i])
		default: // the value is what is being written
			return p.values(ctx, f.Value, last)
		}
		p.used[f] = true
	}
	if p.isFlag(last) || !p.plain && (last == "-" || last == "--") {
		if name, value, has := strings.Cut(last, "="); has {
			if f := p.flags[name]; f != nil {
				return prefixed(name+"=", p.values(ctx, f.Value, value))
			}
			return nil
		}
		return p.flagNames(last)
	}
	return p.words(ctx, last)
}

func (p *completion) isFlag(word string) bool {
	return !p.plain && strings.HasPrefix(word, "-") && word != "-" && word != "--"
}

func prefixed(prefix string, found []candidate) []candidate {
	for i := range found {
		found[i].word = prefix + found[i].word
	}
	return found
}

// step takes a word that is no flag.
func (p *completion) step(word string) {
	if word == "--" && !p.plain {
		p.plain = true
		return
	}
	for _, child := range p.at.Children {
		if child.Name == word || slices.Contains(child.Aliases, word) {
			p.at, p.given, p.flags = child, nil, flagsOf(child)
			return
		}
	}
	p.given = append(p.given, word)
}

// take notes what the flags say about where to ask, and about what.
func (p *completion) take(f *kong.Flag, value string) {
	p.set[f.Name] = value
	switch f.Name {
	case "server":
		p.session.Server = strings.Split(value, ",")
	case "namespace":
		p.session.Namespace = value
	}
}

func (p *completion) flagNames(begun string) (found []candidate) {
	for name, f := range p.flags {
		repeats := f.IsSlice() || f.IsMap()
		if strings.HasPrefix(name, begun) && strings.HasPrefix(name, "--") && (repeats || !p.used[f]) {
			found = append(found, candidate{name, f.Help})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int { return cmp.Compare(a.word, b.word) })
	return found
}

// words completes a word that is no flag: a command, or an argument.
func (p *completion) words(ctx context.Context, begun string) (found []candidate) {
	for _, child := range p.at.Children {
		if !child.Hidden && strings.HasPrefix(child.Name, begun) {
			found = append(found, candidate{child.Name, child.Help})
		}
	}
	if len(p.at.Children) > 0 || len(p.at.Positional) == 0 {
		return found
	}
	at := p.at.Positional[min(len(p.given), len(p.at.Positional)-1)]
	if len(p.given) >= len(p.at.Positional) && !at.IsCumulative() {
		return nil
	}
	return p.values(ctx, at, begun)
}

// completeTime is for asking a server: who waits has a finger on a key.
const completeTime = time.Second

// values completes the value of a flag or an argument.
func (p *completion) values(ctx context.Context, v *kong.Value, begun string) (found []candidate) {
	if v.Enum != "" {
		for _, word := range v.EnumSlice() {
			if strings.HasPrefix(word, begun) {
				found = append(found, candidate{word, ""})
			}
		}
		return found
	}
	source := p.sources[cmp.Or(v.Tag.Get("complete"), v.Name+"s")]
	if source == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	for _, c := range source(ctx, p.session, begun) {
		if strings.HasPrefix(c.word, begun) && !strings.ContainsAny(c.word, "\n\t") {
			found = append(found, c)
		}
	}
	return found
}

// candidatesMax bounds what is offered, and what a server is asked for.
const candidatesMax = 500

// completeKeys gives the keys of one level.
func completeKeys(ctx context.Context, s *session, word string) (found []candidate) {
	c, err := s.client()
	if err != nil {
		return nil
	}
	for key, err := range c.Keys(ctx, word, "/", client.Stale()) {
		if err != nil || len(found) == candidatesMax {
			break
		}
		found = append(found, candidate{key, ""})
	}
	return found
}

func completeServices(ctx context.Context, s *session, _ string) (found []candidate) {
	c, err := s.client()
	if err != nil {
		return nil
	}
	services, err := c.Services(ctx, client.Stale())
	if err != nil {
		return nil
	}
	for _, one := range services {
		found = append(found, candidate{one.Service, fmt.Sprintf("%d instances", one.Instances)})
	}
	return found
}

// completeInstances gives the instances of the service that the line names first.
func (p *completion) completeInstances(ctx context.Context, s *session, _ string) (found []candidate) {
	c, err := s.client()
	if err != nil || len(p.given) == 0 {
		return nil
	}
	service, err := c.Instances(ctx, p.given[0], client.Query{}, client.Stale())
	if err != nil {
		return nil
	}
	for _, one := range service.Instances[:min(len(service.Instances), candidatesMax)] {
		found = append(found, candidate{one.ID, string(one.Status)})
	}
	return found
}

// completeChecks gives those that can be reported of the instance that the line names.
func (p *completion) completeChecks(ctx context.Context, s *session, _ string) (found []candidate) {
	c, err := s.client()
	if err != nil || len(p.given) == 0 {
		return nil
	}
	instance, err := c.Instance(ctx, p.given[0], p.set["id"], client.Stale())
	if err != nil {
		return nil
	}
	for _, one := range instance.Checks {
		if one.TTL > 0 {
			found = append(found, candidate{one.ID, string(one.Status)})
		}
	}
	return found
}

func completeNodes(ctx context.Context, s *session, _ string) (found []candidate) {
	c, err := s.client()
	if err != nil {
		return nil
	}
	nodes, err := c.Nodes(ctx, client.Stale())
	if err != nil {
		return nil
	}
	for _, one := range nodes {
		found = append(found, candidate{one.Name, one.Address})
	}
	return found
}

func completeSessions(ctx context.Context, s *session, _ string) (found []candidate) {
	c, err := s.client()
	if err != nil {
		return nil
	}
	for one, err := range c.Sessions(ctx, client.Stale()) {
		if err != nil || len(found) == candidatesMax {
			break
		}
		found = append(found, candidate{one.ID, "ttl " + one.TTL.String()})
	}
	return found
}

func completeNamespaces(ctx context.Context, s *session, _ string) (found []candidate) {
	c, err := s.client()
	if err != nil {
		return nil
	}
	namespaces, err := c.Namespaces(ctx, client.Stale())
	if err != nil {
		return nil
	}
	for _, one := range namespaces {
		found = append(found, candidate{one.Name, ""})
	}
	return found
}

func completeMembers(ctx context.Context, s *session, _ string) (found []candidate) {
	c, err := s.client()
	if err != nil {
		return nil
	}
	members, err := c.Members(ctx)
	if err != nil {
		return nil
	}
	for _, one := range members {
		found = append(found, candidate{one.Name, one.Role})
	}
	return found
}

// completeValues gives files behind an "@"; any other value is for the writer to know.
func completeValues(_ context.Context, _ *session, word string) (found []candidate) {
	name, ok := strings.CutPrefix(word, "@")
	if !ok {
		return nil
	}
	folder, begun := filepath.Split(name)
	files, err := os.ReadDir(cmp.Or(folder, "."))
	if err != nil {
		return nil
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".") && !strings.HasPrefix(begun, ".") {
			continue // as shells do
		}
		path := "@" + folder + f.Name()
		if f.IsDir() {
			path += "/"
		}
		found = append(found, candidate{path, ""})
	}
	return found
}
