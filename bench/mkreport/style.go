// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/chunkring/chunkring/bench/internal/result"
)

// Colours that the colour-blind tell apart (Okabe and Ito, 2008). Readers differ in shape and dashes, too.
var (
	black      = color.RGBA{A: 255}
	orange     = color.RGBA{R: 0xE6, G: 0x9F, A: 255}
	skyBlue    = color.RGBA{R: 0x56, G: 0xB4, B: 0xE9, A: 255}
	green      = color.RGBA{G: 0x9E, B: 0x73, A: 255}
	darkGreen  = color.RGBA{G: 0x4D, B: 0x38, A: 255} // not of the eight: apart from green by its lightness
	darkRed    = color.RGBA{R: 0x8B, G: 0x2E, B: 0x16, A: 255}
	yellow     = color.RGBA{R: 0xF0, G: 0xE4, B: 0x42, A: 255}
	blue       = color.RGBA{G: 0x72, B: 0xB2, A: 255}
	vermillion = color.RGBA{R: 0xD5, G: 0x5E, A: 255}
	purple     = color.RGBA{R: 0xCC, G: 0x79, B: 0xA7, A: 255}
	grey       = color.RGBA{R: 0x80, G: 0x80, B: 0x80, A: 255}
	darkGrey   = color.RGBA{R: 0x40, G: 0x40, B: 0x40, A: 255}
	lightGrey  = color.RGBA{R: 0xD8, G: 0xD8, B: 0xD8, A: 255}
)

type look struct {
	peer, name string
	color      color.RGBA
	shape      draw.GlyphDrawer
	dashes     []vg.Length
}

// looks are the readers in the order of legends.
var looks = []look{
	{result.Stock, "Loki's client (stock)", black, draw.CircleGlyph{}, nil},
	{result.StockPool, "stock + sync.Pool (unsafe)", orange, draw.SquareGlyph{}, []vg.Length{4, 2}},
	{result.Published, "published io_uring design (unsafe)", vermillion, draw.TriangleGlyph{}, []vg.Length{4, 2}},
	{result.GoDirect, "Go, 2 workers, no io_uring", purple, draw.PyramidGlyph{}, nil},
	{result.Threads, "chunkring threads", skyBlue, draw.CircleGlyph{}, nil},
	{result.URing, "chunkring io_uring", blue, draw.BoxGlyph{}, nil},
	{result.ThreadsReleased, "chunkring threads, released", green, draw.CircleGlyph{}, nil},
	{result.URingReleased, "chunkring io_uring, released", darkGreen, draw.BoxGlyph{}, nil},
	{result.URingUnpatched, "chunkring io_uring, unmodified Loki", blue, draw.RingGlyph{}, []vg.Length{3, 2}},
	{result.FloorRotating, "floor: read into rotating memory", grey, draw.CrossGlyph{}, []vg.Length{1, 2}},
	{result.FloorHot, "floor: read into one hot buffer", grey, draw.PlusGlyph{}, []vg.Length{1, 2}},
	{result.FloorCopy, "floor: copy in memory", grey, draw.RingGlyph{}, []vg.Length{1, 2}},
}

func lookOf(peer string) look {
	for _, l := range looks {
		if l.peer == peer {
			return l
		}
	}
	return look{peer: peer, name: peer, color: black, shape: draw.CircleGlyph{}}
}

const (
	dpi         = 110
	findingSize = vg.Length(14)
	findingRoom = vg.Length(56)
	titleSize   = vg.Length(12)
	textSize    = vg.Length(11)
)

func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.TextStyle.Font.Size, p.Title.Padding = titleSize, 6
	p.X.Label.TextStyle.Font.Size, p.Y.Label.TextStyle.Font.Size = textSize, textSize
	p.X.Tick.Label.Font.Size, p.Y.Tick.Label.Font.Size = textSize, textSize
	p.Legend.TextStyle.Font.Size = textSize
	p.X.Tick.Marker, p.Y.Tick.Marker = rounds{}, rounds{}
	p.Legend.Padding, p.Legend.ThumbnailWidth = 3, 26
	return p
}

func grid(p *plot.Plot) {
	g := plotter.NewGrid()
	g.Vertical.Color, g.Horizontal.Color = lightGrey, lightGrey
	p.Add(g)
}

// figure is some plots beside each other, with one legend at their right or below.
type figure struct {
	name, about   string // file name without ending, and what is drawn
	finding       string // the title: what it shows
	note          string // below it: under which conditions
	panels        []*plot.Plot
	widths        []float64 // relative; nil: equal
	legend        plot.Legend
	legendWidth   vg.Length
	width, height vg.Length
}

func newLegend() plot.Legend { return newPlot("", "", "").Legend }

func (f *figure) draw(c draw.Canvas) {
	const gap = 14
	title := newPlot("", "", "").Title.TextStyle
	title.Font.Size, title.XAlign, title.YAlign = findingSize, draw.XLeft, draw.YTop
	c.FillText(title, vg.Point{X: c.Min.X + 14, Y: c.Max.Y - 10}, f.finding)
	title.Font.Size, title.Color = textSize, darkGrey
	c.FillText(title, vg.Point{X: c.Min.X + 14, Y: c.Max.Y - 30}, f.note)
	inner := draw.Crop(c, 10, -10-f.legendWidth, 10, -findingRoom)
	total, left := 0.0, 0.0
	width := func(i int) float64 {
		if f.widths == nil {
			return 1
		}
		return f.widths[i]
	}
	for i := range f.panels {
		total += width(i)
	}
	whole := inner.Max.X - inner.Min.X
	for i, p := range f.panels {
		right := left + width(i)
		part := draw.Crop(inner, whole*vg.Length(left/total)+gap/2, -whole*vg.Length(1-right/total)-gap/2, 0, 0)
		p.Draw(part)
		left = right
	}
	if f.legendWidth > 0 {
		f.legend.Left, f.legend.Top = true, true
		f.legend.Draw(draw.Crop(c, c.Max.X-c.Min.X-f.legendWidth, -6, 10, -findingRoom-24))
	}
}

// save writes an SVG, which the report shows, and a PNG for viewers that know no SVG; git ignores those of bench/report.
func (f *figure) save(dir string) error {
	svg := vgsvg.New(f.width, f.height)
	white(draw.New(svg))
	f.draw(draw.New(svg))
	png := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(f.width, f.height), vgimg.UseDPI(dpi))}
	f.draw(draw.New(png))
	for ending, w := range map[string]io.WriterTo{".svg": svg, ".png": png} {
		file, err := os.Create(filepath.Join(dir, f.name+ending))
		if err != nil {
			return err
		}
		if _, err := w.WriteTo(file); err != nil {
			_ = file.Close()
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
	return nil
}

// white paints the background, which an SVG has not.
func white(c draw.Canvas) {
	c.FillPolygon(color.White, []vg.Point{c.Min, {X: c.Min.X, Y: c.Max.Y}, c.Max, {X: c.Max.X, Y: c.Min.Y}})
}

// sizeName is "900 KB".
func sizeName(bytes int) string {
	if bytes >= 1_000_000 {
		return strconv.FormatFloat(float64(bytes)/1e6, 'g', 3, 64) + " MB"
	}
	return fmt.Sprintf("%d KB", bytes/1000)
}

// rounds are about six ticks at 1, 2 or 5 times a power of ten.
type rounds struct{}

func (rounds) Ticks(low, high float64) (ticks []plot.Tick) {
	const wish = 6
	rough := (high - low) / wish
	power := math.Pow(10, math.Floor(math.Log10(rough)))
	step := 10 * power
	for _, m := range []float64{5, 2, 1} {
		if m*power >= rough {
			step = m * power
		}
	}
	for i := math.Ceil(low / step); i*step <= high; i++ {
		ticks = append(ticks, plot.Tick{Value: i * step, Label: strconv.FormatFloat(i*step, 'g', 6, 64)})
	}
	return ticks
}

// decades are the ticks of a logarithmic axis: 1, 2 and 5 of each power of ten, in plain numbers.
type decades struct{}

func (decades) Ticks(low, high float64) (ticks []plot.Tick) {
	for e := math.Floor(math.Log10(low)); e <= math.Log10(high); e++ {
		for m := 1.0; m < 10; m++ {
			v := m * math.Pow(10, e)
			if v < low*0.999 || v > high*1.001 {
				continue
			}
			label := ""
			if m == 1 || m == 2 || m == 5 {
				label = strconv.FormatFloat(v, 'g', 6, 64)
			}
			ticks = append(ticks, plot.Tick{Value: v, Label: label})
		}
	}
	return ticks
}

func logAxis(a *plot.Axis) {
	a.Scale, a.Tick.Marker = plot.LogScale{}, decades{}
}
