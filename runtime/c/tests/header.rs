//! The committed header is what cbindgen makes of the source. `HOMESPUN_WRITE_HEADER=1` writes it.

use std::path::Path;

#[test]
fn the_header_is_that_of_the_source() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(here.join("cbindgen.toml")).expect("cbindgen.toml");
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_crate(here)
        .generate()
        .expect("the source can be read");
    let mut made = Vec::new();
    bindings.write(&mut made);
    let path = here.join("homespun.h");
    if std::env::var_os("HOMESPUN_WRITE_HEADER").is_some() {
        std::fs::write(&path, &made).expect("homespun.h can be written");
    }
    let committed = std::fs::read(&path).unwrap_or_default();
    assert!(
        committed == made,
        "homespun.h is stale: HOMESPUN_WRITE_HEADER=1 cargo test --test header"
    );
}
