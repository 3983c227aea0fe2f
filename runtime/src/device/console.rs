//! A person's side of a device, line by line: over a serial line, semihosting or a pipe.
//!
//! ```text
//! hear QUESTION<TAB>REPLY       -> heard 3: kept in bin 3; entropy .. domain .. dissimilarity ..
//! ask                           -> asks about bin 3<TAB>QUESTION<TAB>REPLY    or: asks nothing
//! prefer BIN<TAB>TEXT           -> answered bin 3           accept BIN, skip BIN, forget BIN alike
//! learn STEPS                   -> step 1: loss 3.2108 over 9 tokens           a line a step
//! save                          -> saved 2 after 8 steps
//! say TEXT                      -> says REPLY
//! logits TEXT, gradient BIN     -> figures to the last bit
//! buffer, status                -> what there is
//! anew                          -> a fresh adapter
//! ```
//! Every line but those of `learn`, `buffer` and `status` is answered by one line, which comes when all
//! that it says is durable. What goes wrong is a line that begins with `error:`, and changes nothing.

use core::fmt::{self, Write};

use embedded_storage::nor_flash::NorFlash;
use homespun_core::sampler::Sampling;
use homespun_core::select::Verdict;

use super::{Answer, Device, Error, Plan};
use crate::lexicon::LEXICONS;
use crate::samples::{Flags, Message};

/// Whether another line is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Yes.
    Go,
    /// It was `quit`.
    Quit,
}

/// The most tokens of a reply.
const MOST_REPLY: usize = 32;

/// Why a line was not done.
enum Failure<E> {
    Device(Error<E>),
    Line(&'static str),
}

impl<E> From<Error<E>> for Failure<E> {
    fn from(error: Error<E>) -> Self {
        Failure::Device(error)
    }
}

impl<'a, F: NorFlash> Device<'a, F> {
    /// Does what `line` says and writes the answer.
    ///
    /// # Errors
    /// Those of `out` alone: what goes wrong on the device is an answer.
    pub fn line(&mut self, line: &str, out: &mut impl Write) -> Result<Flow, fmt::Error> {
        let line = line.trim_end_matches(['\r', '\n']);
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let done = match command {
            "" => return Ok(Flow::Go),
            "quit" => return Ok(Flow::Quit),
            "hear" => self.hear_line(rest, out),
            "ask" => self.ask_line(out),
            "prefer" => match rest.split_once('\t') {
                Some((bin, text)) => self.answer_line(bin, Answer::Preferred(text), out),
                None => Err(Failure::Line("prefer BIN<TAB>TEXT")),
            },
            "accept" => self.answer_line(rest, Answer::Accept, out),
            "skip" => self.answer_line(rest, Answer::Skip, out),
            "forget" => self.forget_line(rest, out),
            "learn" => self.learn_line(rest, out),
            "save" => self.save_line(out),
            "say" => self.say_line(rest, out),
            "logits" => self.logits_line(rest, out),
            "gradient" => self.gradient_line(rest, out),
            "buffer" => self.buffer_lines(out),
            "status" => self.status_lines(out),
            "anew" => {
                self.begin_anew();
                Ok(writeln!(out, "a fresh adapter"))
            }
            _ => Err(Failure::Line(
                "hear, ask, prefer, accept, skip, forget, learn, save, say, logits, gradient, buffer, status, anew or quit",
            )),
        };
        match done {
            Ok(written) => written?,
            Err(Failure::Device(error)) => writeln!(out, "error: {error}")?,
            Err(Failure::Line(expected)) => writeln!(out, "error: expected {expected}")?,
        }
        Ok(Flow::Go)
    }
}

type Done<E> = Result<fmt::Result, Failure<E>>;

impl<'a, F: NorFlash> Device<'a, F> {
    fn bin(&self, text: &str) -> Result<usize, Failure<F::Error>> {
        text.trim().parse().map_err(|_| Failure::Line("the number of a bin"))
    }

    fn hear_line(&mut self, rest: &str, out: &mut impl Write) -> Done<F::Error> {
        let (question, reply) =
            rest.split_once('\t').ok_or(Failure::Line("hear QUESTION<TAB>REPLY"))?;
        let messages = [
            Message { role: "user", content: question },
            Message { role: "assistant", content: reply },
        ];
        let heard = self.hear(&messages)?;
        let scores = heard.observed.scores;
        let what = match heard.observed.verdict {
            Verdict::Store(_) => "kept in",
            Verdict::Replace(_) => "replaces",
            Verdict::Drop => "not kept",
        };
        let domain = scores.domain.index().map_or("general", |i| LEXICONS[i].name);
        Ok((|| {
            write!(out, "heard {}: {what}", heard.arrival)?;
            if let Some(bin) = heard.observed.verdict.bin() {
                write!(out, " bin {bin}")?;
            }
            writeln!(
                out,
                "; {domain}, {} tokens, entropy {:.4} {:08x}, domain {:.4} {:08x}, dissimilarity {:.4} {:08x}",
                scores.tokens,
                scores.entropy,
                scores.entropy.to_bits(),
                scores.domain_score,
                scores.domain_score.to_bits(),
                scores.dissimilarity,
                scores.dissimilarity.to_bits(),
            )
        })())
    }

    fn ask_line(&mut self, out: &mut impl Write) -> Done<F::Error> {
        let Some(request) = self.request()? else { return Ok(writeln!(out, "asks nothing")) };
        Ok((|| {
            write!(out, "asks about bin {}", request.bin)?;
            request
                .sample
                .messages
                .iter()
                .try_for_each(|message| write!(out, "\t{}", message.content))?;
            writeln!(out)
        })())
    }

    fn answer_line(
        &mut self,
        bin: &str,
        answer: Answer<'_>,
        out: &mut impl Write,
    ) -> Done<F::Error> {
        let bin = self.bin(bin)?;
        self.answer(bin, answer)?;
        Ok(writeln!(out, "answered bin {bin}"))
    }

    fn forget_line(&mut self, rest: &str, out: &mut impl Write) -> Done<F::Error> {
        let bin = self.bin(rest)?;
        self.forget(bin)?;
        Ok(writeln!(out, "forgot bin {bin}"))
    }

    fn learn_line(&mut self, rest: &str, out: &mut impl Write) -> Done<F::Error> {
        let steps: usize = rest.trim().parse().map_err(|_| Failure::Line("learn STEPS"))?;
        for _ in 0..steps {
            let step = self.step()?;
            let written = writeln!(
                out,
                "step {}: loss {:.4} over {} tokens, {:016x}, norm {:016x}",
                step.step,
                step.loss,
                step.targets,
                step.loss.to_bits(),
                step.norm.to_bits(),
            );
            if written.is_err() {
                return Ok(written);
            }
        }
        Ok(Ok(()))
    }

    fn save_line(&mut self, out: &mut impl Write) -> Done<F::Error> {
        let generation = self.save()?;
        Ok(writeln!(out, "saved {generation} after {} steps", self.steps()))
    }

    fn say_line(&mut self, rest: &str, out: &mut impl Write) -> Done<F::Error> {
        let message = Message { role: "user", content: rest };
        let seed = self.setting().seed;
        if let Err(error) = write!(out, "says ") {
            return Ok(Err(error));
        }
        let said = self.reply(&[message], Sampling::default(), seed, MOST_REPLY, out);
        let ended = writeln!(out);
        said?;
        Ok(ended)
    }

    fn logits_line(&mut self, rest: &str, out: &mut impl Write) -> Done<F::Error> {
        let digest = self.logits(&[Message { role: "user", content: rest }])?;
        Ok(writeln!(out, "logits {digest}"))
    }

    fn gradient_line(&mut self, rest: &str, out: &mut impl Write) -> Done<F::Error> {
        let bin = self.bin(rest)?;
        let gradient = self.gradient(bin)?;
        Ok(writeln!(out, "gradient {}, loss {:016x}", gradient.digest, gradient.loss.to_bits()))
    }

    fn buffer_lines(&mut self, out: &mut impl Write) -> Done<F::Error> {
        let (bins, mut used) = (self.samples().bins(), 0);
        for bin in 0..bins {
            let Some(info) = self.samples().info(bin) else { continue };
            let answered = info.header().flags.contains(Flags::ANNOTATED);
            let sample = self.sample(bin)?;
            used += 1;
            let what = if answered { "answered" } else { "not answered" };
            let written =
                write!(out, "bin {bin}: heard {}, {what}", sample.arrival).and_then(|()| {
                    match sample.preferred {
                        Some(text) => writeln!(out, "\t{text}"),
                        None => writeln!(out),
                    }
                });
            if written.is_err() {
                return Ok(written);
            }
        }
        Ok(writeln!(out, "{used} of {bins} bins"))
    }

    fn status_lines(&mut self, out: &mut impl Write) -> Done<F::Error> {
        let image = self.image();
        let plan = Plan::of(image.config(), self.setting(), self.compute.pool.threads());
        Ok((|| {
            write!(out, "model {}, ", image.header().name)?;
            image.hash()[..4].iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
            writeln!(out, ", {} bytes", image.bytes())?;
            writeln!(
                out,
                "memory: {} always, scoring {}, reply {}, step {} to {}; used {} of {} needed",
                plan.always,
                plan.scoring,
                plan.reply,
                plan.least_step,
                plan.whole_step,
                self.used(),
                plan.least(),
            )?;
            let (answered, saved) = (self.answered(), self.saved().unwrap_or(0));
            writeln!(out, "{} steps, saved {saved}; {answered} answered", self.steps())
        })())
    }
}
