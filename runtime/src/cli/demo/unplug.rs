//! `homespun demo --unplug`: three corrections, learned in little memory while the plug is pulled five
//! times, told as a story.
//!
//! ```text
//! talk       the base's replies to questions of an imaginary user
//! correct    three of them; observed by processes of this program, each ends before the next
//! learn      a round that nothing cuts, and in a copy of the same state one that is killed five times;
//!            both end in the same bits, or the command fails
//! after      replies to questions that nobody asked before
//! memory     of the rounds' processes, as the kernel counts it
//! network    of a namespace of our own, where the system gives one
//! ```

mod budget;
mod child;
mod cuts;
mod network;
mod stage;

use std::time::Instant;

use serde_json::json;

use super::Args;
use crate::adapter::Adapter;
use crate::builtin;
use crate::cli::Outcome;
use crate::cli::options::{Machine, print_json, say};
use crate::cli::temporary::Temporary;
use crate::dialogue::{Dialogue, Message, Role};
use crate::engine::{Base, Engine, Sampling};
use crate::personalize::evaluate::{Evaluation, evaluate, rouge1};
use crate::progress::Progress;
use child::GLANCE;
use cuts::{Cut, KILLS};
use network::Network;
use stage::{Learn, Stage};

type Result<T> = core::result::Result<T, Box<dyn core::error::Error>>;

/// Tokens of a reply, and of a dialogue.
const REPLY: usize = 40;
const LONGEST: usize = 512;

/// What a size of the story fixes.
struct Size {
    /// Questions of the stream that are asked.
    asked: usize,
    /// Unseen questions.
    held_out: usize,
    /// How the round learns.
    learn: Learn,
    /// How many unseen questions are shown.
    shown: usize,
}

const FULL: Size = Size {
    asked: 5,
    held_out: 24,
    learn: Learn { lr: "2e-3", epochs: "40", batch: "4", checkpoints: "0.05s" },
    shown: 6,
};

const QUICK: Size = Size {
    asked: 4,
    held_out: 6,
    learn: Learn { lr: "4e-3", epochs: "12", batch: "4", checkpoints: "0.02s" },
    shown: 3,
};

/// Tastes of the user, each of which is corrected once.
const TASTES: usize = 3;

/// Words of a held-out reply that a reply about the same taste shares, at least, as ROUGE-1.
const SAME_TASTE: f64 = 0.4;

pub(super) fn run(args: &Args, machine: &Machine) -> Outcome {
    let start = Instant::now();
    let network = Network::leave(args.unshared.as_deref());
    let size = if args.quick { &QUICK } else { &FULL };
    let base = Base::builtin(None)?;
    let layers = base.layers()?;
    let pool = machine.pool()?;
    let engine = Engine::new(&base, &layers, machine.kernels()?, &pool)?;
    let place = Temporary::new()?;
    let stage = Stage { place: &place, learn: &size.learn, machine };
    let stream = builtin::Size { dialogues: 20 * TASTES, held_out: size.held_out, tastes: TASTES };
    let user = builtin::stream(args.stream_seed, stream);

    say(
        "1. It talks. A chat model of 1.3 million parameters, which is built in, and somebody new:\n",
    )?;
    let talk = talk(&engine, &user, size.asked)?;
    for dialogue in &talk {
        told(dialogue, None)?;
    }

    say("2. Three of the replies are corrected; of the others nothing is said:\n")?;
    stage.observe(&talk)?;
    for dialogue in talk.iter().filter(|dialogue| dialogue.preferred.is_some()) {
        told(dialogue, dialogue.preferred.as_deref())?;
    }

    say(
        "3. It learns from the three, and the plug is pulled. (--unguarded: a model as small as this\n   \
         cannot learn them and keep the rest whole, so a guarded round would keep little of it.)\n",
    )?;
    let budget = stage.budget()?;
    let (unbroken, whole) = stage.unbroken(budget)?;
    say(format_args!(
        "   in one go    {} steps in {:.1} s under --memory {budget}M, loss {:.2} -> {:.2}",
        whole.report["steps"],
        unbroken.training.as_secs_f64(),
        whole.report["loss_before"].as_f64().unwrap_or(f64::NAN),
        whole.report["loss_after"].as_f64().unwrap_or(f64::NAN),
    ))?;
    let (cuts, last, cut) = stage.broken(budget, &unbroken, args.spoil)?;
    for (i, Cut { after, steps, .. }) in cuts.iter().enumerate() {
        say(format_args!(
            "   kill {}       SIGKILL {:.2} s after its first checkpoint, {steps} steps are on disk; the next goes on",
            i + 1,
            after.as_secs_f64(),
        ))?;
    }
    say(format_args!("   at last      {} steps, as if nothing had been", cut.report["steps"]))?;
    say("   SHA-256 of the adapter's tensors")?;
    say(format_args!("   in one go    {}", whole.hash))?;
    say(format_args!("   killed {}x    {}\n", cuts.len(), cut.hash))?;
    if whole.hash != cut.hash {
        return Err(
            "the round that was killed ended in other bits than the one that was not".into()
        );
    }

    say(format_args!(
        "4. Before and after, on {} questions about the same that nobody asked before:\n",
        user.held_out.len()
    ))?;
    let adapter = Adapter::open(&cut.adapter, base.config())?;
    let (before, said_before) = judge(&engine, None, &user.held_out)?;
    let (after, said_after) = judge(&engine, Some(&adapter), &user.held_out)?;
    for (i, dialogue) in user.held_out.iter().enumerate().take(size.shown) {
        let wanted = dialogue.target_response().unwrap_or_default();
        let score = |said: &str| rouge1(wanted, said);
        say(format_args!("   user         {}", question(dialogue)))?;
        say(format_args!("   before  {:.2} {}", score(&said_before[i]), said_before[i]))?;
        say(format_args!("   after   {:.2} {}", score(&said_after[i]), said_after[i]))?;
        say(format_args!("   wanted       {wanted}\n"))?;
    }
    say(format_args!(
        "   ROUGE-1 of all {}: {:.3} before, {:.3} after. What nobody corrected:\n",
        user.held_out.len(),
        before.rouge1,
        after.rouge1
    ))?;
    let mut session = engine.session(Some(&adapter));
    for dialogue in talk.iter().filter(|dialogue| dialogue.preferred.is_none()) {
        let (now, _) = session.reply(dialogue.question(), &Sampling::greedy(REPLY), LONGEST)?;
        say(format_args!("   user         {}", question(dialogue)))?;
        say(format_args!("   before       {}", reply(dialogue)))?;
        say(format_args!("   after        {now}\n"))?;
    }

    let runs = cuts.iter().map(|cut| &cut.ended).chain([&unbroken, &last]);
    let (anonymous, resident) = runs.fold((0, 0), |(anonymous, resident), ended| {
        let peak = ended.peak;
        (peak.anonymous_bytes.max(anonymous), peak.rss_bytes.max(resident))
    });
    let budget_bytes = budget * 1_000_000;
    say(format_args!(
        "5. Memory: the {} processes that learned held {:.1} MB at most of the {budget} MB that they may take\n   \
         (RssAnon + RssShmem as the kernel counts them, read every {} ms); with the pages of the\n   \
         program's own file, its model among them, {:.1} MB (VmHWM).\n",
        KILLS + 2,
        anonymous as f64 / 1e6,
        GLANCE.as_millis(),
        resident as f64 / 1e6,
    ))?;
    let counted = network.counted();
    say(format_args!("6. {}", told_of(&network, counted.as_ref())))?;
    let seconds = start.elapsed().as_secs_f64();
    say(format_args!("\n{seconds:.1} s"))?;
    if args.json {
        print_json(&json!({
            "kills": cuts.len(),
            "moments_ms": cuts.iter().map(|cut| cut.after.as_millis() as u64).collect::<Vec<_>>(),
            "steps_at_kills": cuts.iter().map(|cut| cut.steps).collect::<Vec<_>>(),
            "steps": cut.report["steps"],
            "sha256_unbroken": whole.hash,
            "sha256_killed": cut.hash,
            "corrections": talk.iter().filter(|dialogue| dialogue.preferred.is_some()).count(),
            "learned_from": cut.report["learned_from"],
            "held_out": user.held_out.len(),
            "rouge1_before": before.rouge1,
            "rouge1_after": after.rouge1,
            "loss_before": before.loss,
            "loss_after": after.loss,
            "budget_bytes": budget_bytes,
            "peak_anonymous_bytes": anonymous,
            "peak_rss_bytes": resident,
            "namespace": matches!(network, Network::Own),
            "connections": counted.as_ref().map(|counted| counted.connections()),
            "packets": counted.as_ref().filter(|_| matches!(network, Network::Own)).map(|counted| counted.packets),
            "seconds": seconds,
        }))?;
    }
    if anonymous > budget_bytes {
        return Err(format!("the rounds took {anonymous} bytes, more than they were given").into());
    }
    let alone = counted.filter(|_| matches!(network, Network::Own));
    if alone.is_some_and(|counted| counted.connections() + counted.packets > 0) {
        return Err("there was something on the network".into());
    }
    Ok(())
}

/// The first questions of the stream as the base answers them; the first about each taste has what the
/// user would have liked.
fn talk(engine: &Engine, user: &builtin::Stream, asked: usize) -> Result<Vec<Dialogue>> {
    let wanted: Vec<&str> =
        user.held_out.iter().take(TASTES).filter_map(Dialogue::target_response).collect();
    let mut corrected = [false; TASTES];
    let (mut talk, mut others) = (Vec::new(), 0);
    let mut session = engine.session(None);
    for dialogue in &user.dialogues {
        let preferred = dialogue.preferred.as_deref().unwrap_or_default();
        let taste = wanted.iter().position(|wanted| rouge1(wanted, preferred) >= SAME_TASTE);
        let first = taste.filter(|&taste| !core::mem::replace(&mut corrected[taste], true));
        if first.is_none() {
            others += 1;
            if others + TASTES > asked {
                continue;
            }
        }
        let (reply, _) = session.reply(dialogue.question(), &Sampling::greedy(REPLY), LONGEST)?;
        let mut messages = dialogue.question().to_vec();
        messages.push(Message::new(Role::Assistant, reply));
        let preferred = first.map(|_| preferred.to_owned());
        talk.push(Dialogue { preferred, ..Dialogue::new(messages) });
        if talk.len() == asked {
            break;
        }
    }
    if corrected != [true; TASTES] {
        return Err("--stream-seed: this user does not ask about every taste; try another".into());
    }
    Ok(talk)
}

fn judge(
    engine: &Engine,
    adapter: Option<&Adapter>,
    held_out: &[Dialogue],
) -> Result<(Evaluation, Vec<String>)> {
    let mut progress = Progress::new("evaluate", held_out.len());
    Ok(evaluate(engine, adapter, held_out, &Sampling::greedy(REPLY), LONGEST, &mut progress)?)
}

fn question(dialogue: &Dialogue) -> &str {
    dialogue.question().last().map_or("", |message| message.content.as_str())
}

fn reply(dialogue: &Dialogue) -> &str {
    dialogue.messages.last().map_or("", |message| message.content.as_str())
}

fn told(dialogue: &Dialogue, wanted: Option<&str>) -> Outcome {
    say(format_args!("   user         {}", question(dialogue)))?;
    say(format_args!("   model        {}", reply(dialogue)))?;
    if let Some(wanted) = wanted {
        say(format_args!("   better       {wanted}"))?;
    }
    Ok(say("")?)
}

/// What is known of the network, and nothing else.
fn told_of(network: &Network, counted: Option<&network::Counted>) -> String {
    let Some(counted) = counted else {
        return "network connections: not counted, this system does not tell".to_owned();
    };
    let connections = counted.connections();
    match network {
        Network::Own => {
            let interfaces = match (&counted.interfaces[..], counted.addresses) {
                ([], _) => "no interface".to_owned(),
                ([lo], 0) if lo == "lo" => {
                    "no interface but a loopback without an address".to_owned()
                }
                (some, n) => format!("interfaces {}, {n} addresses", some.join(", ")),
            };
            let packets = counted.packets;
            format!(
                "network connections: {connections} (in a network namespace with {interfaces}; {packets} packets)"
            )
        }
        Network::Shared(reason) => format!(
            "network connections: {connections} of this process at its end (a namespace was not allowed: {reason})"
        ),
    }
}
