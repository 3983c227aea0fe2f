// Homespun for C and C++, C99. Made by cbindgen of runtime/c/src: change it there.

#ifndef HOMESPUN_H
#define HOMESPUN_H

#include <stddef.h>
#include <stdint.h>

// The preset for half a megabyte: an adapter on q and v, pieces of 8 tokens, keys and values in f16.
#define HS_SMALL 0

// The preset for megabytes: an adapter on q, k, v and o, pieces of 32 tokens, keys and values in f32.
#define HS_LARGE 1

// Writes begin and end at multiples of this, so that any flash suits whose unit divides it: 1, 2, 4, 8,
// 16 or 32 bytes. No unit is written twice between two erases.
#define HS_WRITE_BYTES 32

// Erases begin and end at multiples of this, so that any flash suits whose block divides it.
#define HS_ERASE_BYTES 4096

// Who said a message: what the model is told to be. Not every template knows it.
#define HS_SYSTEM 0

// The person.
#define HS_USER 1

// The model.
#define HS_ASSISTANT 2

// The most messages of a dialogue that is given.
#define HS_MOST_MESSAGES 16

// An image begins at a multiple of this many bytes.
#define HS_IMAGE_ALIGN 64

// The dialogue was not kept.
#define HS_DROPPED 0

// It was put into a free bin.
#define HS_STORED 1

// It was put in the place of another.
#define HS_REPLACED 2

// The domain of a text without a word of a lexicon.
#define HS_GENERAL 65535

// The reply was good: it is learned.
#define HS_ACCEPT 0

// The text would have been better: it is learned.
#define HS_PREFER 1

// Not now: it is not asked about again.
#define HS_SKIP 2

// What a call came to. Where it is not `HS_OK`, nothing changed unless the function says so.
enum hs_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // It is done.
  HS_OK = 0,
  // A pointer is null that must not be.
  HS_NULL = 1,
  // A text is not UTF-8.
  HS_INVALID_TEXT = 2,
  // A field of the setting is out of its range.
  HS_INVALID_SETTING = 3,
  // An argument is out of its range: no message, a role that the model does not know, a temperature
  // below 0.
  HS_INVALID_ARGUMENT = 4,
  // There is too little memory; `hs_memory_bytes` says how much it takes.
  HS_MEMORY = 5,
  // The image is none, cut short or damaged, or made for another version.
  HS_IMAGE = 6,
  // The image does not lie at a multiple of `HS_IMAGE_ALIGN` bytes.
  HS_IMAGE_MISALIGNED = 7,
  // The flash's driver failed.
  HS_FLASH = 8,
  // A range of flash is too small, or not whole blocks; `hs_flash_bytes` says how much it takes.
  HS_FLASH_SIZE = 9,
  // What lies in the flash was written for another image, setting or version, or is sealed.
  HS_FOREIGN = 10,
  // What lies in the flash was damaged since it was written.
  HS_DAMAGED = 11,
  // The flash is worn out: nothing more can be written.
  HS_WORN = 12,
  // A text is longer than the setting or a bin has room for.
  HS_TOO_LONG = 13,
  // There is no such bin, or no dialogue in it.
  HS_NO_DIALOGUE = 14,
  // There is no dialogue that was not asked about: not an error.
  HS_NOTHING_TO_ASK = 15,
  // Nothing was answered yet, so there is nothing to learn.
  HS_NOTHING_TO_LEARN = 16,
  // A number is infinite or none: the step was not taken, the reply ended.
  HS_NOT_FINITE = 17,
  // The device is not open.
  HS_CLOSED = 18,
  // The device is at work: it was called from a function that it called.
  HS_BUSY = 19,
  // The library is at fault: this should not happen.
  HS_INTERNAL = 20,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum hs_status hs_status;
#else
typedef int32_t hs_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A model that learns a person. It lies in the memory that `hs_open` was given.
//
// One call at a time: it may move between threads or tasks, but two of them must not call it at once.
typedef struct hs_device hs_device;

// How a device lives with a person: begin with `hs_setting_small` or `hs_setting_large`.
//
// What is saved belongs to `bins`, `rank`, `alpha` and the preset: with others `hs_open` gives
// `HS_FOREIGN`.
typedef struct hs_setting {
  // Of every draw; the same gives the same.
  uint64_t seed;
  // Learning rate, from 0 to 1.
  double learning_rate;
  // The adapter is scaled by alpha / rank; at most 65536 either way.
  float alpha;
  // The adapter's rank, from 1 to 256.
  uint32_t rank;
  // The most tokens of a dialogue, its reply included: from 8 to 8192.
  uint32_t context;
  // The most bytes of a dialogue's text: from 16 to 22528.
  uint32_t text_bytes;
  // Dialogues that are kept, from 1 to 1024.
  uint32_t bins;
  // Dialogues of a step, from 1 to 1024.
  uint32_t batch;
  // `HS_SMALL` or `HS_LARGE`: all else.
  uint32_t preset;
} hs_setting;

// A range of NOR flash, or of what behaves so: an erase sets every bit, a write only clears bits.
//
// Each function gives 0 where it did what it was asked. What it is asked lies within `capacity`; offsets
// count from the begin of the range. Once `write` or `erase` return, what they did must be in the flash.
// They must not call the device that they belong to (it answers `HS_BUSY`) nor leave by `longjmp` or an
// exception.
typedef struct hs_flash {
  // Handed to each function; may be null.
  void *context;
  // Bytes of the range: a multiple of `HS_ERASE_BYTES`.
  uint32_t capacity;
  // Reads `length` bytes at `offset`, which is any.
  int32_t (*read)(void *context, uint32_t offset, uint8_t *bytes, size_t length);
  // Writes `length` bytes at `offset`, both multiples of `HS_WRITE_BYTES`.
  int32_t (*write)(void *context, uint32_t offset, const uint8_t *bytes, size_t length);
  // Erases from `from` up to `to`, both multiples of `HS_ERASE_BYTES`.
  int32_t (*erase)(void *context, uint32_t from, uint32_t to);
} hs_flash;

// A message of a dialogue: a role and UTF-8 that needs no NUL at its end.
typedef struct hs_message {
  // `HS_SYSTEM`, `HS_USER` or `HS_ASSISTANT`.
  uint32_t role;
  // The text; may be null where it has no bytes.
  const char *text;
  // Its bytes.
  size_t text_bytes;
} hs_message;

// What became of a dialogue.
typedef struct hs_heard {
  // Its number, from 0.
  uint64_t arrival;
  // `HS_DROPPED`, `HS_STORED` or `HS_REPLACED`.
  uint32_t verdict;
  // Its bin, unless it was dropped.
  uint32_t bin;
  // Entropy of its embedding.
  float entropy;
  // How much of it is of a domain.
  float domain_score;
  // How unlike it is to those of its domain in the buffer.
  float dissimilarity;
  // The place of the domain's lexicon, or `HS_GENERAL`.
  uint32_t domain;
  // Tokens that were scored.
  uint32_t tokens;
} hs_heard;

// Gets a message, there until it returns. What it must not do is what an `hs_text_sink` must not.
typedef void (*hs_message_sink)(void *context, const struct hs_message *message);

// What a step did.
typedef struct hs_stepped {
  // Its number, from 1.
  uint64_t step;
  // Mean loss over the targets before the step, in nats.
  double loss;
  // The gradient's norm before it was clipped.
  double norm;
  // Tokens that were learned.
  uint32_t targets;
  // Tokens that were read.
  uint32_t tokens;
} hs_stepped;

// Gets text as it comes: whole UTF-8 characters, no NUL at the end, there until it returns. It must not
// call the device (it answers `HS_BUSY`) nor leave by `longjmp` or an exception.
typedef void (*hs_text_sink)(void *context, const char *text, size_t text_bytes);

// How a device stands.
typedef struct hs_standing {
  // Steps of the adapter.
  uint64_t steps;
  // The number of the last save; 0 where nothing was saved.
  uint64_t saved;
  // Dialogues in the buffer.
  uint32_t dialogues;
  // Those that were answered, which steps learn from.
  uint32_t answered;
  // The most bytes of the arena that were used so far.
  size_t used_bytes;
} hs_standing;

// Told where the library panicked: a file of its source, without a NUL at the end, and a line.
typedef void (*hs_panic_hook)(const char *file, size_t file_bytes, uint32_t line);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// A status in words: English, ends in a NUL, there for good.
const char *hs_status_text(int32_t status);

// The preset `HS_SMALL`.
struct hs_setting hs_setting_small(void);

// The preset `HS_LARGE`.
struct hs_setting hs_setting_large(void);

// How many bytes of memory `hs_open` takes, as long as `samples` has the capacity that it has. With more,
// a step computes less twice.
//
// # Safety
// Pointers are null or lead to what they say; `image` is followed by `image_bytes` bytes.
hs_status hs_memory_bytes(const uint8_t *image,
                          size_t image_bytes,
                          const struct hs_setting *setting,
                          const struct hs_flash *samples,
                          size_t *bytes);

// How many bytes of flash a setting takes at least, for samples and for the adapter. More blocks for
// samples wear each of them less.
//
// # Safety
// Pointers are null or lead to what they say; `image` is followed by `image_bytes` bytes.
hs_status hs_flash_bytes(const uint8_t *image,
                         size_t image_bytes,
                         const struct hs_setting *setting,
                         size_t *samples,
                         size_t *adapter);

// Opens what is in the flash, or begins: blank flash becomes an empty buffer. `device` is then what all
// other functions take, and stays so until `hs_close`. On failure it becomes null, and the memory is the
// caller's; what the flash holds is as it was, or blank samples were formatted.
//
// # Safety
// Pointers are null or lead to what they say, `memory` and `image` to as many bytes as are said. Until
// `hs_close`, the memory is touched by nothing but the device, the image is read where it lies and does
// not change, and the two flashes, whose functions and contexts stay as they are, are different ranges
// that nothing else writes to. The settings and `hs_flash` themselves are copied.
hs_status hs_open(void *memory,
                  size_t memory_bytes,
                  const uint8_t *image,
                  size_t image_bytes,
                  const struct hs_setting *setting,
                  const struct hs_flash *samples,
                  const struct hs_flash *adapter,
                  struct hs_device **device);

// Ends the use of a device: from here on the memory, the image and the flashes are the caller's again, and
// the pointer must not be used. Nothing is written; what was not saved is gone. Where the memory was not
// written to since, a later call is told `HS_CLOSED`.
//
// # Safety
// `device` is null or was given by `hs_open`. No other thread is in a call of it.
hs_status hs_close(struct hs_device *device);

// Scores a dialogue and keeps it or not. Once this returns, what was kept is durable.
//
// # Safety
// Pointers are null or lead to what they say, messages to as many as are said.
hs_status hs_hear(struct hs_device *device,
                  const struct hs_message *messages,
                  size_t count,
                  struct hs_heard *heard);

// The oldest dialogue that nobody was asked about: its bin, and its messages, oldest first, to `sink`.
// `HS_NOTHING_TO_ASK` where there is none.
//
// # Safety
// Pointers are null or lead to what they say; `sink` does what its type says.
hs_status hs_request(struct hs_device *device,
                     uint32_t *bin,
                     hs_message_sink sink,
                     void *context);

// Keeps what the person says of the dialogue in `bin`: `HS_ACCEPT`, `HS_PREFER` with a text, or `HS_SKIP`.
// The text of the others is not read. Once this returns, it is durable.
//
// # Safety
// Pointers are null or lead to what they say; `preferred` is followed by its bytes.
hs_status hs_answer(struct hs_device *device,
                    uint32_t bin,
                    uint32_t answer,
                    const char *preferred,
                    size_t preferred_bytes);

// One step of training over what was answered. Nothing of it is durable before `hs_save`.
//
// # Safety
// Pointers are null or lead to what they say.
hs_status hs_step(struct hs_device *device, struct hs_stepped *stepped);

// Makes the adapter and its training durable: the old or the new, wherever the power is cut. `number` may
// be null; it is that of this save, from 1.
//
// # Safety
// Pointers are null or lead to what they say.
hs_status hs_save(struct hs_device *device,
                  uint64_t *number);

// Writes the reply to a dialogue to `sink` as it comes: at most `most_tokens`, or what the context has
// room for. Temperature 0 takes the likeliest token and no seed; above, the same seed gives the same
// reply. `tokens` may be null; it is how many there were.
//
// # Safety
// Pointers are null or lead to what they say, messages to as many as are said; `sink` does what its type
// says.
hs_status hs_reply(struct hs_device *device,
                   const struct hs_message *messages,
                   size_t count,
                   uint32_t most_tokens,
                   float temperature,
                   uint64_t seed,
                   hs_text_sink sink,
                   void *context,
                   uint32_t *tokens);

// Forgets the dialogue in `bin`; its text is erased. What was learned of it stays in the adapter: to
// forget that too, call `hs_begin_anew`, learn, `hs_save` and `hs_erase_older`.
//
// # Safety
// `device` is null or was given by `hs_open`.
hs_status hs_forget(struct hs_device *device,
                    uint32_t bin);

// A fresh adapter, which changes nothing yet. What was saved stays until the next `hs_save`.
//
// # Safety
// `device` is null or was given by `hs_open`.
hs_status hs_begin_anew(struct hs_device *device);

// Erases the save before the last, so that nothing older can be read.
//
// # Safety
// `device` is null or was given by `hs_open`.
hs_status hs_erase_older(struct hs_device *device);

// How the device stands.
//
// # Safety
// Pointers are null or lead to what they say.
hs_status hs_stand(struct hs_device *device, struct hs_standing *standing);

// Sets what is called when the library panics; null for nothing. It is of all devices.
//
// The hook should not return: reset, or `abort()`. Where it returns or there is none, the call loops for
// good, for the watchdog to see. The device that was in use stays `HS_BUSY`; what it saved before counts.
//
// # Safety
// `hook` is null or can be called from wherever the library is.
void hs_on_panic(hs_panic_hook hook);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* HOMESPUN_H */
