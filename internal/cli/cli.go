// Package cli is what the programs of the project have in common as commands: exit
// codes, the choice of a subcommand, and its arguments.
package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"

	"sofutobanku/internal/version"
)

// Exit codes. They are stable, and each program's help text tells those it has.
const (
	OK      = 0
	Failed  = 1
	Usage   = 2
	Config  = 3  // the configuration cannot work
	Running = 4  // somebody else does it already
	NotUp   = 5  // something is wrong with the line
	Warned  = 6  // nothing is, and something is to be warned of
	NoTools = 69 // a package is missing: EX_UNAVAILABLE of sysexits.h
)

// Error is an error with an exit code of its own.
type Error struct {
	Code int
	Err  error
}

func (e *Error) Error() string { return fmt.Sprint(e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Exit is an Error; err is nil when all was said.
func Exit(code int, err error) error { return &Error{code, err} }

// Command is a subcommand without its name.
type Command func(args []string, stdout, stderr io.Writer) error

// Program is a program of subcommands. It has "version" besides its own.
type Program struct {
	Name     string
	Usage    string // the help text
	Commands map[string]Command
}

// Run runs the subcommand that args begin with, says what fails, and returns the exit
// code.
func (p Program) Run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, p.Usage)
		return Usage
	}
	if args[0] == "-h" || args[0] == "--help" || args[0] == "help" {
		fmt.Fprint(stdout, p.Usage)
		return OK
	}
	command, ok := p.Commands[args[0]]
	if args[0] == "version" {
		command, ok = p.version, true
	}
	if !ok {
		fmt.Fprintf(stderr, "%s: unknown command %q: see %s -h\n", p.Name, args[0], p.Name)
		return Usage
	}
	err := command(args[1:], stdout, stderr)
	var coded *Error
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return OK
	case errors.As(err, &coded):
		if coded.Err != nil {
			fmt.Fprintf(stderr, "%s: %v\n", p.Name, coded.Err)
		}
		return coded.Code
	}
	fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
	if errors.Is(err, fs.ErrPermission) {
		fmt.Fprintf(stderr, "%s: run it as root\n", p.Name)
	}
	return Failed
}

func (p Program) version(args []string, stdout, stderr io.Writer) error {
	if _, err := Parse(flag.NewFlagSet("version", flag.ContinueOnError), args, 0, stderr); err != nil {
		return err
	}
	_, err := fmt.Fprintln(stdout, version.Text(p.Name))
	return err
}

// Parse parses the flags of a subcommand and at most so many other arguments, in any
// order, and returns these. The error is an *Error with the code Usage, or flag.ErrHelp.
func Parse(fs *flag.FlagSet, args []string, most int, stderr io.Writer) (rest []string, err error) {
	fs.SetOutput(stderr)
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, Exit(Usage, nil) // the flag set already said what is wrong
		}
		if fs.NArg() == 0 {
			return rest, nil
		}
		if len(rest) == most {
			return nil, Exit(Usage, fmt.Errorf("%s: unexpected argument %q: -h tells what there is", fs.Name(), fs.Arg(0)))
		}
		rest, args = append(rest, fs.Arg(0)), fs.Args()[1:]
	}
}
