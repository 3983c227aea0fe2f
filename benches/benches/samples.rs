//! The sample buffer in RAM: put, read, mount.

use core::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use homespun_runtime::flash::RamFlash;
use homespun_runtime::samples::{
    BinInfo, Embedding, Message, Messages, RECORD_BYTES, Sample, Samples, flash_bytes, format,
};

const BINS: usize = 128;

fn samples(c: &mut Criterion) {
    let mut group = c.benchmark_group("samples");
    let mut flash: RamFlash<Vec<u8>> = RamFlash::new(vec![0xFF; flash_bytes(BINS, BINS / 8, 4096)]);
    format(&mut flash, BINS).expect("a fresh flash takes a format");
    let mut buffer = Samples::mount(flash, vec![BinInfo::FREE; BINS]).expect("it mounts");
    let text = "what shall we have for supper tonight ".repeat(50);
    let messages =
        [Message { role: "user", content: &text }, Message { role: "assistant", content: &text }];
    let embedding = vec![0.5; 576];
    let sample = Sample {
        messages: Messages::Given(&messages),
        embedding: Embedding::Floats(&embedding),
        ..Sample::default()
    };
    for bin in 0..BINS {
        buffer.put(bin, &sample).expect("it fits");
    }
    let bytes = (2 * text.len() + 2 * embedding.len()) as u64;
    group.throughput(Throughput::Bytes(bytes));
    let mut bin = 0;
    group.bench_function("put", |b| {
        b.iter(|| {
            bin = (bin + 1) % BINS;
            buffer.put(bin, &sample).expect("it fits")
        });
    });
    let mut scratch = vec![0; RECORD_BYTES];
    group.bench_function("read", |b| {
        b.iter(|| {
            bin = (bin + 1) % BINS;
            buffer.read(bin, &mut scratch).expect("it is there").arrival
        });
    });
    group.throughput(Throughput::Elements(BINS as u64));
    let mut parts = Some(buffer.into_parts());
    group.bench_function("mount", |b| {
        b.iter(|| {
            let (flash, index) = parts.take().expect("given back below");
            parts = Some(Samples::mount(flash, index).expect("it mounts").into_parts());
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = samples
}
criterion_main!(benches);
