//! The block by which the RP2350's boot ROM knows that there is a program in flash, and for which processor.
//!
//! ```text
//! 0x1000_0000  vector table
//!              ffff_ded3   a block begins
//!              1021_0142   item 0x42, 1 word: a program (1) | secure (2 << 4) | Arm (0 << 8) | RP2350 (1 << 12)
//!              0000_01ff   the last item, 1 word of items before it
//!              0000_0000   the next block, relative to this one: itself
//!              ab12_3579   the block ends
//! ```
//! (Raspberry Pi, RP2350 datasheet, 5.9.5.1, the least Arm image definition.)

#[used]
#[unsafe(link_section = ".image_definition")]
static IMAGE_DEFINITION: [u32; 5] = [0xFFFF_DED3, 0x1021_0142, 0x0000_01FF, 0, 0xAB12_3579];
