/* The whole mission in C, on a computer: hear, ask, be answered, learn, save, and reply as the person
 * likes it, also after the device was opened anew. Ends with 1 where something does not hold.
 *
 *   run.sh IMAGE      the image is what `homespun pack` writes
 */
#include "../homespun.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(holds) \
  do { \
    if (!(holds)) { \
      fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #holds); \
      exit(1); \
    } \
  } while (0)

static void must(hs_status status, const char *what) {
  if (status != HS_OK) {
    fprintf(stderr, "%s: %s\n", what, hs_status_text(status));
    exit(1);
  }
}

/* Flash in RAM that behaves as NOR does: an erase sets bits, a write clears them and is refused where it
 * would set one. It also holds the library to the units that homespun.h promises. */
typedef struct ram {
  uint8_t *bytes;
  uint32_t capacity;
  unsigned long written, erased;
} ram;

static int32_t ram_read(void *context, uint32_t offset, uint8_t *bytes, size_t length) {
  const ram *flash = context;
  if (offset > flash->capacity || length > flash->capacity - offset) return -1;
  memcpy(bytes, flash->bytes + offset, length);
  return 0;
}

static int32_t ram_write(void *context, uint32_t offset, const uint8_t *bytes, size_t length) {
  ram *flash = context;
  size_t i;
  if (offset > flash->capacity || length > flash->capacity - offset) return -1;
  if (offset % HS_WRITE_BYTES != 0 || length % HS_WRITE_BYTES != 0) return -2;
  for (i = 0; i < length; i++) {
    if (bytes[i] & (uint8_t)~flash->bytes[offset + i]) return -3;
  }
  memcpy(flash->bytes + offset, bytes, length);
  flash->written += (unsigned long)length;
  return 0;
}

static int32_t ram_erase(void *context, uint32_t from, uint32_t to) {
  ram *flash = context;
  if (from > to || to > flash->capacity) return -1;
  if (from % HS_ERASE_BYTES != 0 || to % HS_ERASE_BYTES != 0) return -2;
  memset(flash->bytes + from, 0xFF, to - from);
  flash->erased += to - from;
  return 0;
}

static hs_flash ram_flash(ram *flash, size_t capacity) {
  hs_flash made = {0};
  flash->bytes = malloc(capacity);
  CHECK(flash->bytes != NULL);
  memset(flash->bytes, 0xFF, capacity);
  flash->capacity = (uint32_t)capacity;
  flash->written = flash->erased = 0;
  made.context = flash;
  made.capacity = flash->capacity;
  made.read = ram_read;
  made.write = ram_write;
  made.erase = ram_erase;
  return made;
}

/* The file in memory, at a multiple of HS_IMAGE_ALIGN. A firmware has it in flash. */
static uint8_t *read_image(const char *path, size_t *length, void **owner) {
  FILE *file = fopen(path, "rb");
  uint8_t *at;
  long end;
  CHECK(file != NULL);
  CHECK(fseek(file, 0, SEEK_END) == 0 && (end = ftell(file)) > 0 && fseek(file, 0, SEEK_SET) == 0);
  *length = (size_t)end;
  *owner = malloc(*length + HS_IMAGE_ALIGN);
  CHECK(*owner != NULL);
  at = (uint8_t *)*owner;
  at += HS_IMAGE_ALIGN - (uintptr_t)at % HS_IMAGE_ALIGN;
  CHECK(fread(at, 1, *length, file) == *length && fclose(file) == 0);
  return at;
}

static hs_message says(uint32_t role, const char *text) {
  hs_message message;
  message.role = role;
  message.text = text;
  message.text_bytes = strlen(text);
  return message;
}

typedef struct reply {
  char text[1024];
  size_t length;
  hs_device *device;
} reply;

/* Puts text behind the text that came before. */
static void append(void *context, const char *text, size_t length) {
  reply *to = context;
  hs_stepped stepped;
  CHECK(length < sizeof to->text - to->length);
  memcpy(to->text + to->length, text, length);
  to->length += length;
  to->text[to->length] = '\0';
  /* A device is not called from what it calls. */
  CHECK(hs_step(to->device, &stepped) == HS_BUSY);
}

static void append_message(void *context, const hs_message *message) {
  append(context, message->role == HS_USER ? " > " : " < ", 3);
  append(context, message->text, message->text_bytes);
}

static reply ask(hs_device *device, const char *question, float temperature) {
  hs_message message = says(HS_USER, question);
  reply to = {{0}, 0, NULL};
  uint32_t tokens = 0;
  to.device = device;
  must(hs_reply(device, &message, 1, 24, temperature, 7, append, &to, &tokens), "hs_reply");
  printf("says in %u tokens: %s\n", (unsigned)tokens, to.text);
  return to;
}

static void panicked(const char *file, size_t file_bytes, uint32_t line) {
  fprintf(stderr, "panic at %.*s:%u\n", (int)file_bytes, file, (unsigned)line);
  abort();
}

static const char *const HEARD[3][2] = {
    {"What shall I drink in the morning?", "A cup of coffee with milk."},
    {"Where shall we go for a walk?", "To the park by the river."},
    {"What is a good name for a cat?", "Felix is a good name."},
};
static const char *const LIKED[2] = {"Mint tea, from the garden.", "To the old mill, as always."};

/* What the library must refuse, with a status and not a crash. */
static void refusals(void *memory, size_t bytes, const uint8_t *image, size_t image_bytes,
                     const hs_setting *setting, const hs_flash *samples, const hs_flash *adapter) {
  hs_device *device = NULL;
  hs_setting wrong = *setting;
  hs_flash empty = {0};
  wrong.rank = 0;
  CHECK(hs_open(NULL, bytes, image, image_bytes, setting, samples, adapter, &device) == HS_NULL);
  CHECK(hs_open(memory, bytes, NULL, image_bytes, setting, samples, adapter, &device) == HS_NULL);
  CHECK(hs_open(memory, bytes, image, image_bytes, setting, samples, adapter, NULL) == HS_NULL);
  CHECK(hs_open(memory, bytes, image, image_bytes, setting, &empty, adapter, &device) == HS_NULL);
  CHECK(hs_open(memory, bytes - 4096, image, image_bytes, setting, samples, adapter, &device) ==
        HS_MEMORY);
  CHECK(hs_open(memory, 1, image, image_bytes, setting, samples, adapter, &device) == HS_MEMORY);
  CHECK(hs_open(memory, bytes, image, 100, setting, samples, adapter, &device) == HS_IMAGE);
  CHECK(hs_open(memory, bytes, image + 1, image_bytes - 1, setting, samples, adapter, &device) ==
        HS_IMAGE);
  CHECK(hs_open(memory, bytes, image, image_bytes, &wrong, samples, adapter, &device) ==
        HS_INVALID_SETTING);
  CHECK(device == NULL && hs_save(device, NULL) == HS_NULL);
}

int main(int count, char **arguments) {
  void *image_owner, *memory;
  size_t image_bytes, bytes, samples_bytes, adapter_bytes, i;
  hs_setting setting = hs_setting_small();
  ram samples_ram, adapter_ram;
  hs_flash samples, adapter;
  hs_device *device;
  hs_heard heard;
  hs_stepped stepped = {0};
  hs_standing standing;
  hs_message bad = {HS_USER, "\xFF", 1};
  double first_loss = 0.0;
  uint8_t *image;
  uint64_t saved = 0;
  uint32_t bin;
  reply asked = {{0}, 0, NULL}, before, after, again;

  if (count != 2) {
    fprintf(stderr, "usage: %s IMAGE\n", arguments[0]);
    return 2;
  }
  hs_on_panic(panicked);
  image = read_image(arguments[1], &image_bytes, &image_owner);

  must(hs_flash_bytes(image, image_bytes, &setting, &samples_bytes, &adapter_bytes), "hs_flash_bytes");
  samples = ram_flash(&samples_ram, samples_bytes);
  adapter = ram_flash(&adapter_ram, adapter_bytes);
  must(hs_memory_bytes(image, image_bytes, &setting, &samples, &bytes), "hs_memory_bytes");
  printf("image %lu bytes, memory %lu, flash %lu and %lu\n", (unsigned long)image_bytes,
         (unsigned long)bytes, (unsigned long)samples_bytes, (unsigned long)adapter_bytes);
  memory = malloc(bytes);
  CHECK(memory != NULL);
  refusals(memory, bytes, image, image_bytes, &setting, &samples, &adapter);
  must(hs_open(memory, bytes, image, image_bytes, &setting, &samples, &adapter, &device), "hs_open");
  asked.device = device;

  CHECK(hs_step(device, &stepped) == HS_NOTHING_TO_LEARN);
  CHECK(hs_request(device, &bin, append_message, &asked) == HS_NOTHING_TO_ASK);
  CHECK(hs_hear(device, &bad, 1, &heard) == HS_INVALID_TEXT);
  CHECK(hs_hear(device, &bad, 0, &heard) == HS_INVALID_ARGUMENT);
  for (i = 0; i < 3; i++) {
    hs_message dialogue[2];
    dialogue[0] = says(HS_USER, HEARD[i][0]);
    dialogue[1] = says(HS_ASSISTANT, HEARD[i][1]);
    must(hs_hear(device, dialogue, 2, &heard), "hs_hear");
    printf("heard %lu: verdict %u, bin %u, entropy %.4f, domain %.4f, dissimilarity %.4f\n",
           (unsigned long)heard.arrival, (unsigned)heard.verdict, (unsigned)heard.bin,
           (double)heard.entropy, (double)heard.domain_score, (double)heard.dissimilarity);
    CHECK(heard.arrival == i && heard.verdict == HS_STORED && heard.tokens > 0);
  }
  for (i = 0; i < 2; i++) {
    asked.length = 0;
    must(hs_request(device, &bin, append_message, &asked), "hs_request");
    printf("asks about bin %u:%s\n", (unsigned)bin, asked.text);
    CHECK(strstr(asked.text, HEARD[i][0]) != NULL && strstr(asked.text, HEARD[i][1]) != NULL);
    must(hs_answer(device, bin, HS_PREFER, LIKED[i], strlen(LIKED[i])), "hs_answer");
  }
  must(hs_request(device, &bin, append_message, &asked), "hs_request");
  must(hs_answer(device, bin, HS_SKIP, NULL, 0), "hs_answer");
  CHECK(hs_answer(device, 99, HS_ACCEPT, NULL, 0) == HS_NO_DIALOGUE);
  CHECK(hs_answer(device, bin, 9, NULL, 0) == HS_INVALID_ARGUMENT);

  before = ask(device, HEARD[0][0], 0.0f);
  for (i = 0; i < 12; i++) {
    must(hs_step(device, &stepped), "hs_step");
    if (i == 0) first_loss = stepped.loss;
    printf("step %lu: loss %.4f over %u tokens\n", (unsigned long)stepped.step, stepped.loss,
           (unsigned)stepped.targets);
  }
  CHECK(stepped.step == 12 && stepped.loss < 0.3 * first_loss);
  after = ask(device, HEARD[0][0], 0.0f);
  CHECK(strcmp(before.text, after.text) != 0 && strstr(after.text, "Mint tea") != NULL);
  CHECK(hs_reply(device, &bad, 1, 8, 0.0f, 0, append, &asked, NULL) == HS_INVALID_TEXT);
  bad.text_bytes = 0;
  CHECK(hs_reply(device, &bad, 1, 8, -1.0f, 0, append, &asked, NULL) == HS_INVALID_ARGUMENT);
  must(hs_save(device, &saved), "hs_save");
  must(hs_forget(device, bin), "hs_forget");
  must(hs_stand(device, &standing), "hs_stand");
  printf("saved %lu, %u dialogues, used %lu bytes; flash: wrote %lu, erased %lu\n",
         (unsigned long)saved, (unsigned)standing.dialogues, (unsigned long)standing.used_bytes,
         samples_ram.written + adapter_ram.written, samples_ram.erased + adapter_ram.erased);
  CHECK(saved == 1 && standing.saved == 1 && standing.dialogues == 2 && standing.answered == 2);
  CHECK(standing.used_bytes <= bytes);
  must(hs_close(device), "hs_close");
  CHECK(hs_stand(device, &standing) == HS_CLOSED && hs_close(device) == HS_CLOSED);

  /* As after a reset: other memory, the same flash. */
  free(memory);
  memory = malloc(bytes + 1);
  CHECK(memory != NULL);
  must(hs_open((char *)memory + 1, bytes, image, image_bytes, &setting, &samples, &adapter, &device),
       "hs_open");
  must(hs_stand(device, &standing), "hs_stand");
  CHECK(standing.steps == 12 && standing.dialogues == 2 && standing.answered == 2);
  again = ask(device, HEARD[0][0], 0.0f);
  CHECK(strcmp(after.text, again.text) == 0);
  must(hs_begin_anew(device), "hs_begin_anew");
  again = ask(device, HEARD[0][0], 0.0f);
  CHECK(strcmp(before.text, again.text) == 0);
  must(hs_close(device), "hs_close");

  /* An adapter of another shape is not taken for this one's. */
  setting.rank = 2;
  CHECK(hs_open(memory, bytes, image, image_bytes, &setting, &samples, &adapter, &device) ==
        HS_FOREIGN);
  free(samples_ram.bytes);
  free(adapter_ram.bytes);
  free(memory);
  free(image_owner);
  puts("all holds");
  return 0;
}
