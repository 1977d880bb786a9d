package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rollcall/rollcall/client"
)

// documentBytesMax is how long a document a server reads.
const documentBytesMax = 8 << 20

// extensions are the ends of the names of files in each format; the first is what an editor is given.
var extensions = map[client.Format][]string{
	client.JSON: {".json"}, client.YAML: {".yaml", ".yml"}, client.TOML: {".toml"},
	client.Env: {".env"}, client.Properties: {".properties"},
}

// formatFlag is the format of a document, by its name or by that of its file.
type formatFlag struct {
	Format client.Format `enum:",json,yaml,toml,env,properties" default:"" placeholder:"FORMAT" help:"How the document is written: json, yaml, toml, env or properties."`
}

// of is the format of a file; that of standard input is JSON unless it is named.
func (f formatFlag) of(file string) (client.Format, error) {
	if f.Format != "" {
		return f.Format, nil
	}
	if file == "-" {
		return client.JSON, nil
	}
	for format, all := range extensions {
		for _, ending := range all {
			if strings.EqualFold(filepath.Ext(file), ending) {
				return format, nil
			}
		}
	}
	return "", misusef("the name of %s does not say in which format it is: give --format", file)
}

// documentFlags are those of a document that is brought in.
type documentFlags struct {
	File    string `arg:"" help:"The document; - is standard input."`
	Prefix  string `help:"Where the document stands among the keys."`
	Replace bool   `help:"Delete the keys below the prefix that the document lacks."`
	formatFlag
}

func (c documentFlags) options() []client.WriteOption {
	if c.Replace {
		return []client.WriteOption{client.Replace()}
	}
	return nil
}

// read reads the document.
func (c documentFlags) read(s *session) (document []byte, format client.Format, err error) {
	if format, err = c.of(c.File); err != nil {
		return nil, "", err
	}
	document, err = s.readFile(c.File, documentBytesMax)
	return document, format, err
}

// rehearse says what bringing the document in would do.
func (c documentFlags) rehearse(ctx context.Context, s *session) (documentDiff, error) {
	document, format, err := c.read(s)
	if err != nil {
		return documentDiff{}, err
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return documentDiff{}, err
	}
	defer cancel()
	return newDocumentDiff(ctx, cl, c.Prefix, fileName(c.File), format, document, c.options()...)
}

type kvImportCmd struct {
	documentFlags
	DryRun bool `help:"Show what would change, as \"kv diff\" does, and change nothing."`
}

// Help teaches by example.
func (kvImportCmd) Help() string {
	return `Every leaf of the document becomes a key, all of them in one commit: the member "url" of the member "db" becomes the
key db/url, below the prefix. Strings are stored as their text, with content type text/plain; numbers, booleans, null,
arrays (as a whole) and empty objects as their JSON text, with content type application/json. "kv export" gives the same
document back. The format is what the name of the file says.

In a member's name, % is written %25, / %2F and NUL %00; the empty name is a lone %. In the format env, / is __ and every
part of a key is letters, digits and single underscores; in the format properties, / is a dot. There, a value that looks
like JSON is JSON, unless it stands in double quotes (env) or begins with an escape (properties).

Keys that the document does not speak of stay, unless --replace is given; where the document has an object and a value
is stored, or the other way round, the document wins. Keys that are as the document says already are left alone.

    rollcall kv import config.json --prefix shop
    rollcall kv import settings.yaml --prefix shop --dry-run
    rollcall kv export shop > config.json
    jq '.limits.rps = 500' config.json | rollcall kv import - --prefix shop --replace --reason "more load"`
}

// Run brings a document in.
func (c kvImportCmd) Run(ctx context.Context, s *session) error {
	if c.DryRun {
		d, err := c.rehearse(ctx, s)
		if err != nil {
			return fmt.Errorf("import %s: %w", fileName(c.File), err)
		}
		return d.tell(s)
	}
	document, format, err := c.read(s)
	if err != nil {
		return err
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	done, err := cl.PutDocument(ctx, c.Prefix, format, document, c.options()...)
	if err != nil {
		return fmt.Errorf("import %s: %w", fileName(c.File), err)
	}
	return s.imported(done)
}

// imported tells what a document did.
func (s *session) imported(done client.DocumentWritten) error {
	if s.JSON {
		return s.line(done)
	}
	if done.Put+done.Deleted == 0 {
		return s.sayf("nothing to change: %d keys are as the document says", done.Unchanged)
	}
	return s.sayf("%d keys written, %d deleted, %d unchanged, at revision %d", done.Put, done.Deleted, done.Unchanged, done.Revision)
}

type kvExportCmd struct {
	Key    string `arg:"" optional:"" name:"prefix" complete:"keys" help:"Which keys: this one, and those below it; left out, all."`
	Prefix string `help:"The same, as a flag."`
	At     string `placeholder:"REVISION|TIME" help:"As it was then."`
	formatFlag
}

// Help teaches by example.
func (kvExportCmd) Help() string {
	return `Writes the document that "kv import" took apart, in JSON unless --format says otherwise, all of it as of one revision;
see there for how keys stand for a document.

    rollcall kv export shop > config.json
    rollcall kv export shop --format yaml
    rollcall kv export shop --at 2026-01-31T09:00:00Z | diff - config.json`
}

// Run writes a document.
func (c kvExportCmd) Run(ctx context.Context, s *session) error {
	if c.Key != "" && c.Prefix != "" {
		return misusef("the prefix is given twice: %q and %q", c.Key, c.Prefix)
	}
	format, err := c.of("-")
	if err != nil {
		return err
	}
	options, err := readOptions(c.At)
	if err != nil {
		return err
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	document, err := cl.Document(ctx, c.Key+c.Prefix, format, options...)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	_, err = s.stdout.Write(document.Content)
	return err
}

type kvDiffCmd struct{ documentFlags }

// Help teaches by example.
func (kvDiffCmd) Help() string {
	return `Shows what importing the document would change, and changes nothing. The exit status is that of diff: 0 where nothing
would change, 1 where something would, 2 where that could not be found out.

    rollcall kv diff config.yaml --prefix shop
    rollcall kv diff config.yaml --prefix shop --replace    keys that it lacks, too
    rollcall kv diff config.yaml --prefix shop --json       the events, one to a line`
}

// Run shows a difference.
func (c kvDiffCmd) Run(ctx context.Context, s *session) error {
	d, err := c.rehearse(ctx, s)
	if err == nil {
		err = d.tell(s)
	}
	switch {
	case err != nil:
		return misuse{fmt.Errorf("diff %s: %w", fileName(c.File), err)}
	case d.Total > 0:
		return errDiffers
	}
	return nil
}

type kvEditCmd struct {
	Prefix string `arg:"" complete:"keys" help:"Which keys: this one, and those below it."`
	Yes    bool   `short:"y" help:"Write without asking."`
	formatFlag
}

// Help teaches by example.
func (kvEditCmd) Help() string {
	return `Opens the keys at a prefix as one document in $VISUAL or $EDITOR, in YAML unless --format says otherwise, then shows what
would change, asks, and writes it in one commit. What you delete in the document is deleted. If any of these keys changed
meanwhile, nothing is written, and your text is kept.

    rollcall kv edit shop
    rollcall kv edit shop/limits --format json --reason "more load"
    EDITOR='sed -i s/debug/info/' rollcall kv edit shop --yes`
}

// Run has a document edited.
func (c kvEditCmd) Run(ctx context.Context, s *session) error {
	format := c.Format
	if format == "" {
		format = client.YAML
	}
	before, err := c.open(ctx, s, format)
	if err != nil {
		return fmt.Errorf("edit: %w", err)
	}
	folder, err := os.MkdirTemp("", "rollcall-edit-")
	if err != nil {
		return err
	}
	file := filepath.Join(folder, "document"+extensions[format][0])
	if err := os.WriteFile(file, before.Content, 0o600); err != nil {
		return err
	}
	if err := edit(ctx, s, file); err != nil {
		return fmt.Errorf("edit: %w; nothing was written, and your text is in %s", err, file)
	}
	after, err := s.readFile(file, documentBytesMax)
	if err != nil {
		return err
	}
	if !bytes.Equal(before.Content, after) {
		if err := c.write(ctx, s, format, before.Revision, after); err != nil {
			return fmt.Errorf("edit: %w; your text is in %s", err, file)
		}
	} else if err := s.sayf("nothing to change: the document is as it was"); err != nil {
		return err
	}
	return os.RemoveAll(folder)
}

func (c kvEditCmd) open(ctx context.Context, s *session, format client.Format) (client.Document, error) {
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return client.Document{}, err
	}
	defer cancel()
	return cl.Document(ctx, c.Prefix, format)
}

// write shows what a document changes, asks, and writes it if nobody else was faster.
func (c kvEditCmd) write(ctx context.Context, s *session, format client.Format, since uint64, document []byte) error {
	options := []client.WriteOption{client.Replace(), client.IfRevision(since)}
	cl, asked, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	d, err := newDocumentDiff(asked, cl, c.Prefix, "your text", format, document, options...)
	if err != nil {
		return c.changed(err)
	}
	if d.Total > 0 && !c.Yes {
		if err := d.tell(s); err != nil {
			return err
		}
		fmt.Fprintf(s.stderr, "Write this? [y/N] ")
		if answer := strings.ToLower(s.answer()); answer != "y" && answer != "yes" {
			return errors.New("nothing was written")
		}
	}
	cl, asked, again, err := s.request(ctx) // people think for longer than a request may take
	if err != nil {
		return err
	}
	defer again()
	done, err := cl.PutDocument(asked, c.Prefix, format, document, options...)
	if err != nil {
		return c.changed(err)
	}
	return s.imported(done)
}

// changed says what it means that the condition of an edit does not hold.
func (c kvEditCmd) changed(err error) error {
	if errors.Is(err, client.ErrConditionFailed) {
		return fmt.Errorf("somebody else changed what lies at %q since you opened it, and nothing was written: %w", c.Prefix, err)
	}
	return err
}

// edit opens a file in the editor of the person who asked, which may be a command with arguments.
func edit(ctx context.Context, s *session, file string) error {
	editor := os.Getenv("VISUAL")
	if editor == "" {
		editor = os.Getenv("EDITOR")
	}
	if editor == "" {
		editor = "vi"
	}
	command := exec.CommandContext(ctx, "sh", "-c", editor+` "$@"`, "sh", file)
	command.Stdin, command.Stdout, command.Stderr = s.stdin, s.stdout, s.stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("the editor %q ended with: %w", editor, err)
	}
	return nil
}

// answer reads one line of what a person says.
func (s *session) answer() string {
	var line []byte
	for b := make([]byte, 1); len(line) < 80; line = append(line, b[0]) { // byte by byte: what follows is not ours
		if n, err := s.stdin.Read(b); n == 0 || err != nil || b[0] == '\n' {
			break
		}
	}
	return strings.TrimSpace(string(line))
}

// readFile reads a file, or standard input for "-", of at most limit bytes.
func (s *session) readFile(name string, limit int) ([]byte, error) {
	in := s.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }() // it was only read
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", fileName(name), err)
	}
	if len(b) > limit {
		return nil, fmt.Errorf("read %s: it is longer than %d bytes", fileName(name), limit)
	}
	return b, nil
}

func fileName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}
