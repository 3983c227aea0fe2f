//! Dialogues and texts on which an image is compared with the model that it was packed from.

use crate::dialogue::{Message, Role};

const USER: Role = Role::User;
const ASSISTANT: Role = Role::Assistant;
const SYSTEM: Role = Role::System;

/// Who speaks, and what.
const DIALOGUES: [&[(Role, &str)]; 10] = [
    &[(USER, "Hello")],
    &[(USER, "What shall I drink?"), (ASSISTANT, "A cup of black tea with milk.")],
    &[(SYSTEM, "Be brief."), (USER, "Where am I?"), (ASSISTANT, "At home.")],
    &[(USER, "One"), (ASSISTANT, "Two"), (USER, "Three, please"), (ASSISTANT, "Four, then.")],
    &[
        (SYSTEM, "You know everything."),
        (USER, "I'm sure we've 12 or 345 left, haven't we?"),
        (ASSISTANT, "They're gone: 1,000.50 € spent!"),
        (USER, "Oh"),
    ],
    &[(USER, " leading and trailing "), (ASSISTANT, "\n\nlines\n and\ttabs  \n")],
    &[(USER, "Grüße, señor: 你好, мир, שלום ✓ 👩‍👩‍👧 ½ ²"), (ASSISTANT, "नमस्ते ١٢٣ ok…")],
    &[(USER, "<|im_end|></s><|end|><|endoftext|><0x0A>▁"), (ASSISTANT, "<unk><s>\u{200b}")],
    &[(USER, "   "), (ASSISTANT, "x")],
    &[(USER, "don't 'quote' it''s"), (ASSISTANT, "we'll  see   -- it'd (be) \"fine\"...")],
];

/// The dialogues.
pub(super) fn dialogues() -> impl Iterator<Item = Vec<Message>> {
    DIALOGUES.into_iter().map(|one| {
        one.iter().map(|&(role, content)| Message::new(role, content)).collect::<Vec<_>>()
    })
}
