//! A rectangle of a row-major matrix that may be written: what one chunk of a product gets.
//!
//! ```text
//!            columns of the tile
//! matrix  ........[=====]........   row 0 of the tile, a plain slice
//!         ........[=====]........   row 1, `stride` elements further on
//! ```
//! Tiles of one matrix interleave in memory, so `&mut [f32]` cannot split them: a tile holds a
//! pointer, and is made only from a slice that it borrows whole, or as a cell of a grid.

use core::marker::PhantomData;
use core::ops::Range;

use crate::pool::{Pool, run_once};

/// Rows and columns of a matrix that only the holder reads and writes.
#[derive(Debug)]
pub struct Tile<'a> {
    start: *mut f32,
    stride: usize,
    rows: Range<usize>,
    cols: Range<usize>,
    lent: PhantomData<&'a mut [f32]>,
}

// SAFETY: a tile is the only way to its elements, as a `&mut [f32]` is, and `f32` is `Send`.
unsafe impl Send for Tile<'_> {}

impl<'a> Tile<'a> {
    /// All of `data`, `(rows, cols)`, which are these rows and columns of a matrix.
    ///
    /// # Panics
    /// If `data` does not hold so many elements.
    pub fn new(data: &'a mut [f32], rows: Range<usize>, cols: Range<usize>) -> Self {
        assert_eq!(data.len(), rows.len() * cols.len(), "tile data and shape differ");
        Self { start: data.as_mut_ptr(), stride: cols.len(), rows, cols, lent: PhantomData }
    }

    /// Which rows of the matrix these are.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Which columns of the matrix these are.
    pub fn cols(&self) -> Range<usize> {
        self.cols.clone()
    }

    /// From one row to the next, in elements.
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The first element.
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    pub fn as_mut_ptr(&mut self) -> *mut f32 {
        self.start
    }

    /// Rows `rows` and columns `cols` of the matrix.
    ///
    /// # Panics
    /// If they are not inside the tile.
    pub fn part(&mut self, rows: Range<usize>, cols: Range<usize>) -> Tile<'_> {
        let inside = |part: &Range<usize>, of: &Range<usize>| {
            of.start <= part.start && part.start <= part.end && part.end <= of.end
        };
        assert!(inside(&rows, &self.rows) && inside(&cols, &self.cols), "part outside its tile");
        let skip = (rows.start - self.rows.start) * self.stride + cols.start - self.cols.start;
        Tile {
            start: self.start.wrapping_add(skip),
            stride: self.stride,
            rows,
            cols,
            lent: PhantomData,
        }
    }

    /// The tile's elements in row `row` of the matrix.
    ///
    /// # Panics
    /// If the row is not in the tile.
    pub fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(self.rows.contains(&row), "row outside its tile");
        let from = (row - self.rows.start) * self.stride;
        // SAFETY: the row is one of the tile's, all of which lie in the lent slice, and this tile
        // alone may touch it while it is borrowed.
        unsafe { core::slice::from_raw_parts_mut(self.start.add(from), self.cols.len()) }
    }

    /// Makes every element zero.
    pub fn clear(&mut self) {
        for row in self.rows() {
            self.row(row).fill(0.0);
        }
    }
}

/// The matrix that threads share; its one method cuts disjoint tiles.
struct Grid<'a> {
    whole: Tile<'a>,
    tile_rows: usize,
    tile_cols: usize,
}

// SAFETY: `Grid::cell` is the only use of a shared grid, and its caller asks for a cell once.
unsafe impl Sync for Grid<'_> {}

impl Grid<'_> {
    fn across(&self) -> usize {
        self.whole.cols.len().div_ceil(self.tile_cols)
    }

    fn cells(&self) -> usize {
        self.whole.rows.len().div_ceil(self.tile_rows) * self.across()
    }

    /// Cell `i`, counted along rows of cells.
    ///
    /// # Safety
    /// No other tile of cell `i` may live.
    unsafe fn cell(&self, i: usize) -> Tile<'_> {
        let (row, col) = (i / self.across() * self.tile_rows, i % self.across() * self.tile_cols);
        let rows = row..(row + self.tile_rows).min(self.whole.rows.end);
        let cols = col..(col + self.tile_cols).min(self.whole.cols.end);
        assert!(rows.start < rows.end && cols.start < cols.end, "cell outside its grid");
        let Tile { start, stride, .. } = self.whole;
        let start = start.wrapping_add(rows.start * stride + cols.start);
        Tile { start, stride, rows, cols, lent: PhantomData }
    }
}

/// A matrix to cut: its elements, its `(rows, cols)`, and those of a tile.
pub type Cut<'a> = (&'a mut [f32], (usize, usize), (usize, usize));

fn grid<'a>((data, shape, size): Cut<'a>) -> Grid<'a> {
    assert!(size.0 > 0 && size.1 > 0, "tiles need a size");
    let whole = Tile::new(data, 0..shape.0, 0..shape.1);
    Grid { whole, tile_rows: size.0, tile_cols: size.1 }
}

/// Cuts each matrix into tiles of its size (less at the right and lower edge), and runs
/// `job(i, tile)` on each tile of matrix `i`.
///
/// # Panics
/// If a matrix is not of its shape, a size is zero, or the pool does not run each chunk once.
pub(crate) fn tiles_mut<const N: usize>(
    pool: &dyn Pool,
    matrices: [Cut; N],
    job: &(dyn Fn(usize, Tile) + Sync),
) {
    let grids = matrices.map(grid);
    run_once(pool, grids.iter().map(Grid::cells).sum(), &|mut cell| {
        for (i, grid) in grids.iter().enumerate() {
            if cell < grid.cells() {
                // SAFETY: cells are disjoint, and `run_once` gives each number, hence each cell of
                // each grid, to one call.
                return job(i, unsafe { grid.cell(cell) });
            }
            cell -= grid.cells();
        }
    });
}

/// Cuts a matrix into tiles and runs `job(i, tile)` on each, counted along rows of tiles.
///
/// # Panics
/// As [`tile_pairs_mut`].
pub fn tile_chunks_mut(pool: &dyn Pool, matrix: Cut, job: &(dyn Fn(usize, Tile) + Sync)) {
    let grid = grid(matrix);
    run_once(pool, grid.cells(), &|i| {
        // SAFETY: cells are disjoint, and `run_once` gives each number to one call.
        job(i, unsafe { grid.cell(i) });
    });
}

/// A job on a pair of tiles.
pub type TilePairJob<'a> = dyn Fn(usize, Tile, Tile) + Sync + 'a;

/// Cuts two matrices into tiles, each into as many rows and columns of them as the other, and runs
/// `job(i, tile of a, tile of b)` on each pair, counted along rows of tiles.
///
/// # Panics
/// If the two are not cut alike, a matrix is not of its shape, a size is zero, or the pool does not
/// run each chunk once.
pub fn tile_pairs_mut(pool: &dyn Pool, a: Cut, b: Cut, job: &TilePairJob) {
    let (a, b) = (grid(a), grid(b));
    assert!(a.cells() == b.cells() && a.across() == b.across(), "tiles come in pairs");
    run_once(pool, a.cells(), &|i| {
        // SAFETY: cells are disjoint, and `run_once` gives each number to one call.
        job(i, unsafe { a.cell(i) }, unsafe { b.cell(i) });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agreement::pools::Four;
    use crate::pool::Serial;

    #[test]
    fn tiles_cover_each_element_once() {
        for (rows, cols) in [(0, 0), (0, 5), (5, 0), (1, 1), (7, 5), (16, 33)] {
            let mut data = vec![0.0; rows * cols];
            let mut other = vec![0.0; cols];
            let cuts = [(&mut data[..], (rows, cols), (3, 4)), (&mut other[..], (1, cols), (1, 2))];
            tiles_mut(&Serial, cuts, &|matrix, mut tile| {
                for row in tile.rows() {
                    let first = tile.cols().start;
                    for (i, x) in tile.row(row).iter_mut().enumerate() {
                        *x += (row * cols + first + i + 1) as f32 * (matrix + 1) as f32;
                    }
                }
            });
            assert!(data.iter().enumerate().all(|(i, &x)| x == (i + 1) as f32), "{rows}x{cols}");
            assert!(other.iter().enumerate().all(|(i, &x)| x == 2.0 * (i + 1) as f32));
        }
    }

    #[test]
    fn threads_write_interleaved_tiles_at_once() {
        let (rows, cols) = (9, 31);
        let mut data = vec![0.0; rows * cols];
        tiles_mut(&Four, [(&mut data[..], (rows, cols), (2, 5))], &|_, mut tile| {
            let half = tile.cols().start + tile.cols().len() / 2;
            for row in tile.rows() {
                let cols = tile.cols();
                tile.part(row..row + 1, cols.start..half).row(row).fill(row as f32);
                tile.part(row..row + 1, half..cols.end).row(row).fill(row as f32);
            }
        });
        assert!(data.iter().enumerate().all(|(i, &x)| x == (i / cols) as f32));
    }

    #[test]
    fn pairs_of_tiles_are_the_same_cell_of_both_matrices() {
        let (rows, wide, narrow) = (7, 12, 3);
        let (mut a, mut b) = (vec![0.0; rows * wide], vec![0.0; rows * narrow]);
        let cuts = ((&mut a[..], (rows, wide), (2, 4)), (&mut b[..], (rows, narrow), (2, 1)));
        tile_pairs_mut(&Four, cuts.0, cuts.1, &|i, mut a, mut b| {
            assert!(a.rows() == b.rows() && a.cols().start == 4 * b.cols().start);
            for row in a.rows() {
                a.row(row).fill(i as f32);
                b.row(row).fill(i as f32);
            }
        });
        let cell = |row: usize, col: usize| (row / 2 * 3 + col) as f32;
        let mut alone = vec![0.0; rows * wide];
        tile_chunks_mut(&Four, (&mut alone[..], (rows, wide), (2, 4)), &|i, mut tile| {
            tile.rows().for_each(|row| tile.row(row).fill(i as f32));
        });
        assert_eq!(a, alone);
        assert!(a.iter().enumerate().all(|(i, &x)| x == cell(i / wide, i % wide / 4)));
        assert!(b.iter().enumerate().all(|(i, &x)| x == cell(i / narrow, i % narrow)));
    }

    #[test]
    #[should_panic(expected = "come in pairs")]
    fn matrices_that_are_cut_unlike_are_refused() {
        let (mut a, mut b) = ([0.0; 12], [0.0; 12]);
        let cuts = ((&mut a[..], (3, 4), (1, 2)), (&mut b[..], (4, 3), (1, 3)));
        tile_pairs_mut(&Serial, cuts.0, cuts.1, &|_, _, _| ());
    }

    #[test]
    #[should_panic(expected = "outside its tile")]
    fn a_part_stays_inside_its_tile() {
        let mut data = [0.0; 12];
        Tile::new(&mut data, 0..3, 0..4).part(0..1, 0..3).part(0..1, 1..4);
    }
}
