//! How a product is cut into the chunks that threads share: by its shape alone.
//!
//! ```text
//! many columns            few columns, many rows
//! [ 0 | 1 | 2 | 3 ]       [ 0 ]
//!                         [ 1 ]
//!                         [ 2 ]
//! ```

/// Multiply-adds that are worth waking other threads for.
const WORTH: usize = 1 << 18;
/// Multiply-adds of one chunk, at least, when weights are used once and memory is the limit.
const CHUNK_STREAMED: usize = 1 << 16;
/// The same, at most: each chunk begins with weights that nothing has fetched ahead.
const LARGEST_STREAMED: usize = 1 << 20;
/// Chunks of streamed weights that share the work evenly enough between unlike cores.
const STREAMED_CHUNKS: usize = 16;
/// Multiply-adds of one chunk, about, when weights are used by many rows.
const CHUNK_REUSED: usize = 1 << 19;
/// Columns come in panels of this width.
const COLS: usize = 16;
/// Columns of a chunk when many rows share the work of reading a row.
const WIDE_COLS: usize = 64;
/// So many rows do.
const MANY_ROWS: usize = 16;
/// Rows come in groups that six and eight divide.
const ROWS: usize = 24;

/// The size `(rows, cols)` of a chunk of an output `(rows, cols)` with `depth` multiply-adds an element.
pub(crate) fn chunk(rows: usize, cols: usize, depth: usize) -> (usize, usize) {
    cut(rows, cols, depth, if rows >= MANY_ROWS { WIDE_COLS } else { COLS })
}

/// The same where columns of the output are columns of stored weights: narrow pieces of long rows are
/// slow to read.
pub(crate) fn chunk_of_columns(rows: usize, cols: usize, depth: usize) -> (usize, usize) {
    cut(rows, cols, depth, WIDE_COLS)
}

/// Chunks of a multiple of `step` columns.
fn cut(rows: usize, cols: usize, depth: usize, step: usize) -> (usize, usize) {
    let whole = (rows.max(1), cols.max(1));
    let depth = depth.max(1);
    let work = rows.saturating_mul(cols).saturating_mul(depth);
    if work < WORTH {
        return whole;
    }
    let goal = if rows == 1 { streamed(work) } else { CHUNK_REUSED };
    if rows == 1 || cols >= 4 * COLS {
        let cols = goal.div_ceil(rows.saturating_mul(depth)).next_multiple_of(step);
        (rows, cols.min(whole.1))
    } else {
        let rows = goal.div_ceil(cols.saturating_mul(depth)).next_multiple_of(ROWS);
        (rows.min(whole.0), cols)
    }
}

/// Multiply-adds of one chunk of `work` when weights are used once.
fn streamed(work: usize) -> usize {
    (work / STREAMED_CHUNKS).clamp(CHUNK_STREAMED, LARGEST_STREAMED)
}

/// Panels of packed weights come in twos.
const PANEL_COLS: usize = 2 * COLS;

/// The size `(rows, cols)` of a chunk of a product `(rows, cols)` with packed weights: all rows, for
/// panels are read once, and no more columns than it takes to be worth a chunk.
pub(crate) fn packed_chunk(rows: usize, cols: usize, depth: usize) -> (usize, usize) {
    let whole = (rows.max(1), cols.max(1));
    let work = rows.saturating_mul(cols).saturating_mul(depth);
    if work < WORTH {
        return whole;
    }
    let weights = if rows == 1 { streamed(work) } else { CHUNK_STREAMED.min(CHUNK_REUSED / rows) };
    let step = if rows == 1 { COLS } else { PANEL_COLS };
    (rows, weights.div_ceil(depth).max(1).next_multiple_of(step).min(cols))
}

/// Elements of a chunk of elementwise work.
const ELEMENTS: usize = 1 << 13;

/// Rows of `cols` elements that make a chunk of elementwise work.
pub(crate) fn rows(cols: usize) -> usize {
    (ELEMENTS / cols.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::{chunk, chunk_of_columns, packed_chunk};

    #[test]
    fn small_products_stay_whole_and_large_ones_split_along_the_longer_side() {
        assert_eq!(chunk(0, 0, 0), (1, 1));
        assert_eq!(chunk(2, 64, 64), (2, 64));
        assert_eq!(chunk(1, 4096, 4096), (1, 256));
        assert_eq!(chunk(4, 576, 576), (4, 240));
        assert_eq!(chunk(256, 576, 576), (256, 64));
        assert_eq!(chunk_of_columns(1, 4096, 4096), (1, 256));
        assert_eq!(chunk_of_columns(1, 1024, 1024), (1, 64));
        assert_eq!(chunk(4096, 8, 576), (120, 8));
    }

    #[test]
    fn chunks_of_packed_weights_are_whole_panels_and_as_large_for_few_tokens_as_for_one() {
        assert_eq!(packed_chunk(0, 0, 0), (1, 1));
        assert_eq!(packed_chunk(2, 64, 64), (2, 64));
        assert_eq!(packed_chunk(1, 4096, 4096), (1, 256));
        assert_eq!(packed_chunk(1, 576, 576), (1, 128));
        assert_eq!(packed_chunk(4, 576, 576), (4, 128));
        assert_eq!(packed_chunk(512, 192, 576), (512, 32));
        assert_eq!(packed_chunk(1 << 30, 40, 8), (1 << 30, 32));
    }
}
