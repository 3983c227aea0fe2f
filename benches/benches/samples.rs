//! The sample buffer in RAM, 512 bins of 22 KiB: put, read, mount and fill, plain and sealed; and what
//! a put into a file costs, with and without waiting for the disk.

use core::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use homespun_runtime::flash::{FileFlash, RamFlash};
use homespun_runtime::samples::{
    BinInfo, Embedding, Message, Messages, RECORD_BYTES, Sample, Samples, Seal, file, flash_bytes,
    format, slots,
};
use homespun_runtime::seal::{Key, system_random};

const BINS: usize = 512;
type Ram = RamFlash<Vec<u8>>;
type Buffer = Samples<Ram, Vec<BinInfo>>;

fn seal() -> Seal {
    Seal { key: Key::new([7; 32]), previous: None, random: system_random }
}

fn mount(flash: Ram, index: Vec<BinInfo>, sealed: bool) -> Buffer {
    let mounted = match sealed {
        true => Samples::mount_sealed(flash, index, seal()),
        false => Samples::mount(flash, index),
    };
    mounted.expect("it mounts")
}

fn empty(sealed: bool) -> Buffer {
    let capacity = flash_bytes::<Ram>(BINS, BINS / 8);
    let mut flash: Ram = RamFlash::new(vec![0xFF; capacity]);
    format(&mut flash, BINS, sealed).expect("a fresh flash takes a format");
    mount(flash, vec![BinInfo::FREE; slots::<Ram>(capacity)], sealed)
}

fn samples(c: &mut Criterion) {
    let text = "what shall we have for supper tonight ".repeat(278);
    let messages =
        [Message { role: "user", content: &text }, Message { role: "assistant", content: &text }];
    let embedding = vec![0.5; 576];
    let sample = Sample {
        messages: Messages::Given(&messages),
        embedding: Embedding::Floats(&embedding),
        ..Sample::default()
    };
    let bytes = (2 * text.len() + 2 * embedding.len()) as u64;
    for (name, sealed) in [("samples", false), ("samples sealed", true)] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(BINS as u64 * bytes));
        group.sample_size(10);
        group.bench_function("fill", |b| {
            let fill = |mut buffer: Buffer| {
                for bin in 0..BINS {
                    buffer.put(bin, &sample).expect("it fits");
                }
                buffer
            };
            b.iter_batched(|| empty(sealed), fill, BatchSize::PerIteration);
        });
        let mut buffer = empty(sealed);
        for bin in 0..BINS {
            buffer.put(bin, &sample).expect("it fits");
        }
        group.throughput(Throughput::Bytes(bytes));
        let mut bin = 0;
        group.bench_function("put", |b| {
            b.iter(|| {
                bin = (bin + 1) % BINS;
                buffer.put(bin, &sample).expect("it fits").bytes
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
                parts = Some(mount(flash, index, sealed).into_parts());
            });
        });
        group.finish();
    }
    let folder = std::env::temp_dir().join(format!("homespun-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the image");
    let mut group = c.benchmark_group("samples file");
    group.throughput(Throughput::Bytes(bytes));
    let mut buffer = file::create(&folder.join("image"), 16, Some(&seal())).expect("an image");
    let mut bin = 0;
    let mut put = |buffer: &mut file::FileSamples| {
        bin = (bin + 1) % 16;
        buffer.put(bin, &sample).expect("it fits").bytes
    };
    group.bench_function("put", |b| b.iter(|| put(&mut buffer)));
    let mut buffer = buffer.with_barrier(|_: &mut FileFlash| Ok(()));
    group.bench_function("put without waiting", |b| b.iter(|| put(&mut buffer)));
    group.finish();
    std::fs::remove_dir_all(&folder).expect("the folder was made here");
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
