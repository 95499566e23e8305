// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/scanner"
	"go/token"
	"slices"
	"strings"
)

// movedError says that Loki's code is not what an edit expects.
type movedError struct {
	edit *edit
	what string
}

// Error names the file, and what was looked for.
func (e *movedError) Error() string {
	return fmt.Sprintf(`%s: an anchor moved: %s
  looked in: %s
  for, exactly once:
      %s
  the edit:  %s`,
		e.edit.file, e.what, e.edit.in, strings.ReplaceAll(strings.TrimSpace(e.edit.at), "\n", "\n      "), e.edit.why)
}

// splice is one replacement of src[from:to].
type splice struct {
	from, to int
	text     string
}

// apply returns src, a file of Loki's, with all of its edits.
func apply(src []byte, all []edit) ([]byte, error) {
	var splices []splice
	for i := range all {
		s, err := locate(src, &all[i])
		if err != nil {
			return nil, err
		}
		if all[i].put != nowhere {
			splices = append(splices, s)
		}
	}
	if len(splices) == 0 {
		return src, nil
	}
	slices.SortFunc(splices, func(a, b splice) int { return b.from - a.from })
	out := slices.Clone(src)
	for _, s := range splices { // from the end, so that offsets before stay true
		out = slices.Concat(out[:s.from], []byte(s.text), out[s.to:])
	}
	formatted, err := format.Source(out)
	if err != nil {
		return nil, fmt.Errorf("%s: the edited file is not Go: %w", all[0].file, err)
	}
	return formatted, nil
}

// locate finds an edit's anchor and turns the edit into offsets.
func locate(src []byte, e *edit) (splice, error) {
	first, last, ok, err := declaration(src, e.in)
	if err != nil {
		return splice{}, &movedError{e, "the file does not parse: " + err.Error()}
	}
	if !ok {
		return splice{}, &movedError{e, "the declaration is gone"}
	}
	found := find(src[first:last], e.at)
	if len(found) != 1 {
		return splice{}, &movedError{e, fmt.Sprintf("the code occurs %d times", len(found))}
	}
	from, to := first+found[0].from, first+found[0].to
	switch e.put {
	case before:
		from = strings.LastIndexByte(string(src[:from]), '\n') + 1
		return splice{from, from, strings.TrimSuffix(e.text, "\n") + "\n" + blankIf(strings.HasSuffix(e.text, "\n"))}, nil
	case after:
		to += strings.IndexByte(string(src[to:])+"\n", '\n') + 1
		return splice{to, to, strings.TrimSuffix(e.text, "\n") + "\n" + blankIf(strings.HasSuffix(e.text, "\n"))}, nil
	}
	return splice{from, to, e.text}, nil
}

func blankIf(yes bool) string {
	if yes {
		return "\n"
	}
	return ""
}

// declaration returns where a function ("func Name", "func Type.Name") or type ("type Name") of a file
// begins and ends.
func declaration(src []byte, name string) (first, last int, ok bool, err error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "", src, parser.SkipObjectResolution)
	if err != nil {
		return 0, 0, false, err
	}
	offsets := func(n ast.Node) (int, int, bool, error) {
		return fset.Position(n.Pos()).Offset, fset.Position(n.End()).Offset, true, nil
	}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if "func "+receiver(d)+d.Name.Name == name {
				return offsets(d)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if t, isType := spec.(*ast.TypeSpec); isType && "type "+t.Name.Name == name {
					return offsets(t)
				}
			}
		}
	}
	return 0, 0, false, nil
}

// receiver is "Type." for a method of Type or *Type.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil || len(d.Recv.List) != 1 {
		return ""
	}
	t := d.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if id, ok := t.(*ast.Ident); ok {
		return id.Name + "."
	}
	return ""
}

type goToken struct {
	from, to int
	text     string
}

// tokens splits Go code, whole or not, leaving out comments, white space and the semicolons that end
// lines.
func tokens(src []byte) []goToken {
	var s scanner.Scanner
	fset := token.NewFileSet()
	f := fset.AddFile("", -1, len(src))
	s.Init(f, src, func(token.Position, string) {}, 0)
	var out []goToken
	for {
		pos, tok, lit := s.Scan()
		switch {
		case tok == token.EOF:
			return out
		case tok == token.SEMICOLON && lit == "\n":
			continue
		}
		if lit == "" {
			lit = tok.String()
		}
		at := f.Offset(pos)
		out = append(out, goToken{at, at + len(lit), lit})
	}
}

// find returns where the tokens of code occur in src.
func find(src []byte, code string) []splice {
	hay, needle := tokens(src), tokens([]byte(code))
	var found []splice
	for i := 0; i+len(needle) <= len(hay); i++ {
		same := len(needle) > 0
		for j := range needle {
			if hay[i+j].text != needle[j].text {
				same = false
				break
			}
		}
		if same {
			found = append(found, splice{from: hay[i].from, to: hay[i+len(needle)-1].to})
		}
	}
	return found
}

// isIn reports whether a file has what an edit puts there.
func (e *edit) isIn(src []byte) bool { return e.put != nowhere && len(find(src, e.text)) > 0 }
