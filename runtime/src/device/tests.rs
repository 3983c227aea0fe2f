//! The whole mission on flash that is memory.

use super::console::Flow;
use super::*;
use crate::flash::RamFlash;
use crate::image::pack::{Aligned, Weights, pack};
use homespun_kernels::quant::Format;
use homespun_kernels::{Isa, Kernels};

type Ram = RamFlash<Vec<u8>>;

/// A model in an image, lent for good as a firmware's is.
fn image(weights: Weights) -> &'static Aligned {
    let base = crate::engine::Base::builtin(None).unwrap();
    Box::leak(Box::new(Aligned::new(&pack(&base, weights).unwrap().bytes)))
}

fn blank() -> Flash<Ram> {
    let samples = Ram::new(vec![0xFF; samples::flash_bytes::<Ram>(Setting::SMALL.bins, 2)]);
    Flash { samples, adapter: Ram::new(vec![0xFF; 2 << 18]), seal: None }
}

/// A device over `flash` with `memory` bytes, and what it was opened with once it is closed.
struct Bench {
    image: Image<'static>,
    setting: Setting,
    memory: usize,
}

impl Bench {
    fn new(weights: Weights) -> Self {
        let image = Image::open(image(weights).bytes()).unwrap();
        let setting = Setting::SMALL;
        let memory = Plan::of(image.config(), &setting, 1).least();
        Bench { image, setting, memory }
    }

    fn open<R>(
        &self,
        flash: Flash<Ram>,
        act: impl FnOnce(&mut Device<'_, Ram>) -> R,
    ) -> Result<(R, Flash<Ram>), Error<crate::flash::RamError>> {
        let mut layers = vec![Layer::empty(); self.image.config().layers];
        let mut slots = vec![BinInfo::FREE; index(&flash.samples)];
        let mut memory = vec![0xA5; self.memory];
        let seal = flash.seal.clone();
        let compute = Compute::serial(Kernels::for_isa(Isa::Scalar).unwrap());
        let (layers, slots) = (&mut layers[..], &mut slots[..]);
        let image = self.image;
        let mut device =
            Device::open(image, layers, slots, &mut memory, flash, self.setting, compute)?;
        let result = act(&mut device);
        let Device { samples, pair, .. } = device;
        Ok((result, Flash { samples: samples.into_parts().0, adapter: pair.into_flash(), seal }))
    }
}

fn say(device: &mut Device<'_, Ram>, line: &str) -> String {
    let mut out = String::new();
    assert_eq!(device.line(line, &mut out).unwrap(), Flow::Go);
    out
}

const HEARD: [&str; 3] = [
    "hear What shall I drink in the morning?\tA cup of coffee with milk.",
    "hear Where shall we go for a walk?\tTo the park by the river.",
    "hear What is a good name for a cat?\tFelix is a good name.",
];
const ANSWERS: [&str; 2] =
    ["prefer 0\tMint tea, from the garden.", "prefer 1\tTo the old mill, as always."];

#[test]
fn a_device_learns_a_person_in_the_memory_that_was_planned_and_goes_on_after_a_cut() {
    let bench = Bench::new(Weights::Packed(Format::Q8));
    let learn = |device: &mut Device<'_, Ram>, steps| say(device, &format!("learn {steps}"));
    let begin = |device: &mut Device<'_, Ram>| {
        for line in HEARD.iter().chain(&ANSWERS) {
            let answer = say(device, line);
            assert!(!answer.starts_with("error"), "{line}: {answer}");
        }
    };
    let question = "say What shall I drink in the morning?";
    // Without a break.
    let (whole, _) = bench
        .open(blank(), |device| {
            begin(device);
            assert!(say(device, "ask").starts_with("asks about bin 2\tWhat is a good name"));
            let before = say(device, question);
            let losses = learn(device, 12);
            let after = say(device, question);
            assert!(device.used() <= bench.memory, "{} of {}", device.used(), bench.memory);
            assert_ne!(before, after);
            assert!(after.contains("Mint tea"), "{after}");
            (losses, after, device.parameters().to_vec())
        })
        .unwrap();
    let loss = |line: &str| line.split(' ').nth(3).unwrap().parse::<f64>().unwrap();
    let losses: Vec<f64> = whole.0.lines().map(loss).collect();
    assert!(losses[11] < 0.3 * losses[0], "{losses:?}");
    // With one after five steps; what was learned and not saved is gone.
    let (_, flash) = bench
        .open(blank(), |device| {
            begin(device);
            learn(device, 5);
            assert_eq!(say(device, "save"), "saved 1 after 5 steps\n");
            learn(device, 2);
        })
        .unwrap();
    let (halves, flash) = bench
        .open(flash, |device| {
            assert_eq!((device.steps(), device.saved(), device.answered()), (5, Some(1), 2));
            learn(device, 7);
            let after = say(device, question);
            say(device, "save");
            (after, device.parameters().to_vec())
        })
        .unwrap();
    assert!((halves.0, halves.1) == (whole.1, whole.2), "a cut changed what was learned");
    // Another shape or model is refused, and nothing is lost by it.
    let mut other = Bench { setting: bench.setting, ..bench };
    other.setting.lora.rank = 2;
    let error = other.open(flash, |_| ()).map(drop).unwrap_err();
    assert_eq!(error, Error::Foreign { what: "shape" });
}

#[test]
fn less_memory_than_was_planned_is_refused_and_what_was_planned_is_half_a_megabyte() {
    let mut bench = Bench::new(Weights::Packed(Format::Q8));
    // Beside it there is a stack, the index and the layers.
    assert!(bench.memory < 480_000, "{} bytes", bench.memory);
    let needed = bench.memory;
    bench.memory -= 1;
    let available = bench.memory;
    let error = bench.open(blank(), |_| ()).map(drop).unwrap_err();
    let expected = homespun_core::arena::OutOfMemory { needed, available };
    assert_eq!(error, Error::Memory(expected));
}

#[test]
fn scores_are_those_of_a_host() {
    use crate::dialogue::{Dialogue, Message, Role};
    let bench = Bench::new(Weights::F32);
    let base = crate::engine::Base::builtin(None).unwrap();
    let layers = base.layers().unwrap();
    let kernels = Kernels::for_isa(Isa::Scalar).unwrap();
    let pool = homespun_kernels::Serial;
    let engine = crate::engine::Engine::new(&base, &layers, kernels, &pool).unwrap();
    let table = crate::lexicon::Table::built_in();
    let scoring = bench.setting.scoring;
    let mut scorer = crate::personalize::score::Scorer::new(engine, table.lexicons(), scoring);
    let mut measure = bench.setting;
    measure.kv = KvType::F32;
    let bench = Bench {
        memory: Plan::of(bench.image.config(), &measure, 1).least(),
        setting: measure,
        ..bench
    };
    for (question, reply) in [("Where is my tea?", "In the kitchen."), ("", "Grüße, señor!")] {
        let messages =
            vec![Message::new(Role::User, question), Message::new(Role::Assistant, reply)];
        let host = scorer.features(&Dialogue::new(messages)).unwrap();
        let lent = [
            crate::samples::Message { role: "user", content: question },
            crate::samples::Message { role: "assistant", content: reply },
        ];
        let ((scores, embedding), _) = bench
            .open(blank(), |device| {
                let scores = device.measure(&lent).unwrap().scores();
                (scores, device.room.embedding.to_vec())
            })
            .unwrap();
        assert_eq!((scores, embedding), (host.scores, host.embedding));
    }
}

#[test]
fn what_goes_wrong_is_an_answer_and_changes_nothing() {
    let bench = Bench::new(Weights::Packed(Format::Q4));
    let long = "x".repeat(600);
    let ((), _) = bench
        .open(blank(), |device| {
            assert_eq!(say(device, "ask"), "asks nothing\n");
            for (line, part) in [
                ("learn 1", "nothing was answered"),
                ("learn many", "expected learn STEPS"),
                ("prefer 0", "expected prefer BIN<TAB>TEXT"),
                ("prefer 0\tx", "Empty"),
                ("prefer 99\tx", "NoSuchBin"),
                ("prefer 0\t ", "has no word"),
                ("hear no tab", "expected hear"),
                ("gradient 0", "Empty"),
                ("dance", "expected hear, ask"),
                (&format!("hear {long}\tx"), "600 bytes"),
                (&format!("say {long}"), "512 bytes"),
            ] {
                let answer = say(device, line);
                let is_error = answer.contains("error: ") && answer.ends_with('\n');
                assert!(is_error && answer.contains(part), "{line}: {answer}");
            }
            assert_eq!(say(device, "buffer"), "0 of 8 bins\n");
            assert_eq!(device.line("quit\r\n", &mut String::new()), Ok(Flow::Quit));
        })
        .unwrap();
}

#[test]
fn a_sealed_device_shows_nothing_of_what_was_said() {
    use crate::seal::{Key, Seal};
    let bench = Bench::new(Weights::Packed(Format::Q4));
    let random = |bytes: &mut [u8]| {
        bytes.fill(7);
        Ok(())
    };
    let seal = Seal { key: Key::new([3; 32]), previous: None, random };
    let sealed = Flash { seal: Some(seal), ..blank() };
    let (_, flash) = bench
        .open(sealed, |device| {
            say(device, HEARD[0]);
            say(device, ANSWERS[0]);
            say(device, "save");
        })
        .unwrap();
    let bytes = flash.samples.clone().into_bytes();
    assert!(!bytes.windows(8).any(|w| w == b"Mint tea" || w == b"What sha"));
    let (answered, flash) = bench.open(flash, |device| device.answered()).unwrap();
    assert_eq!(answered, 1);
    assert!(bench.open(Flash { seal: None, ..flash }, |_| ()).is_err());
}

#[test]
fn what_the_boards_say_of_the_built_in_model_is_so() {
    let base = crate::engine::Base::builtin(None).unwrap();
    assert_eq!(homespun_boards::BUILTIN, *base.config());
    let boards = [
        (homespun_boards::RP2350, Setting::SMALL),
        (homespun_boards::MPS2_AN386, Setting::LARGE),
        (homespun_boards::VIRT_A76, Setting::LARGE),
    ];
    let image = pack(&base, Weights::Packed(Format::Q8)).unwrap();
    for (board, setting) in boards {
        assert!(Plan::of(base.config(), &setting, 1).least() as u64 <= board.model.budget);
        assert_eq!(board.model.weight_bytes(), image.weight_bytes, "{}", board.name);
        assert_eq!((board.model.context, board.model.lora), (setting.context, setting.lora));
        assert!(image.bytes.len() as u64 <= board.partition("weights").len);
        assert!(setting.bins <= board.bins, "{}", board.name);
    }
}
