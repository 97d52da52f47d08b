//! The plot: durable appends per second against the number of threads.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::crowd::Figures;
use crate::report::crowd_name;
use crate::side::Side;

/// The figures of all sides for a number of threads.
pub(crate) type Point = (usize, Vec<Figures>);

/// Draws a line for each side into the file.
pub(crate) fn draw(file: &Path, points: &[Point], machine: &str) -> Result<()> {
    let picture = SVGBackend::new(file, (800, 500)).into_drawing_area();
    draw_on(&picture, points, machine)
        .and_then(|()| picture.present())
        .map_err(|error| anyhow!("draw {}: {error}", file.display()))
}

type DrawResult<DB> =
    std::result::Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

fn draw_on<DB: DrawingBackend>(
    picture: &DrawingArea<DB, plotters::coord::Shift>,
    points: &[Point],
    machine: &str,
) -> DrawResult<DB> {
    // Opaque, for pages of any colour.
    picture.fill(&WHITE)?;
    let (upper, lower) = picture.split_vertically(475);
    lower.draw(&Text::new(machine, (15, 5), ("sans-serif", 12).into_font()))?;
    let threads = points.iter().map(|(threads, _)| *threads as f64);
    let rates: Vec<f64> = points
        .iter()
        .flat_map(|(_, all)| all.iter().map(|figures| figures.rate()[1].max(1.0)))
        .collect();
    let lowest = rates.iter().copied().fold(f64::MAX, f64::min) / 1.5;
    let highest = rates.iter().copied().fold(1.0, f64::max) * 1.5;
    let mut chart = ChartBuilder::on(&upper)
        .caption("Durable appends of 1 KiB per second", ("sans-serif", 20))
        .margin(10)
        .margin_right(25)
        .x_label_area_size(45)
        .y_label_area_size(80)
        .build_cartesian_2d(
            (1.0..threads.fold(2.0, f64::max)).log_scale().base(2.0),
            (lowest..highest).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc("threads, each on a task of its own")
        .y_desc("appends per second")
        .x_label_formatter(&|threads| format!("{threads:.0}"))
        .y_label_formatter(&|rate| crate::report::thousands(*rate))
        .label_style(("sans-serif", 13))
        .max_light_lines(0)
        .draw()?;
    for side in Side::ALL {
        let line: Vec<(f64, f64)> = points
            .iter()
            .flat_map(|(threads, all)| all.iter().map(move |figures| (*threads, figures)))
            .filter(|(_, figures)| figures.side == side)
            .map(|(threads, figures)| (threads as f64, figures.rate()[1].max(1.0)))
            .collect();
        if line.is_empty() {
            continue;
        }
        let width = if side == Side::Turnkeep { 4 } else { 2 };
        let style = colour(side).stroke_width(width);
        chart
            .draw_series(LineSeries::new(line, style.filled()).point_size(width + 1))?
            .label(crowd_name(side))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK)
        .label_font(("sans-serif", 14))
        .draw()
}

/// Returns the colour of a side, from the colour-blind safe palette of Okabe and Ito.
fn colour(side: Side) -> RGBColor {
    match side {
        Side::Raw | Side::E463321 => BLACK,
        Side::Lean => RGBColor(153, 153, 153),
        Side::Turnkeep | Side::Tokio => RGBColor(213, 94, 0),
        Side::Diesel => RGBColor(0, 114, 178),
        Side::Sqlx => RGBColor(0, 158, 115),
        Side::Rusqlite => RGBColor(204, 121, 167),
        Side::Jsonl => RGBColor(86, 180, 233),
    }
}
