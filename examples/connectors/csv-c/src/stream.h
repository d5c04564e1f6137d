/* Reads all records: object by object in the order of ids, with a checkpoint after each batch. */
#ifndef STREAM_H
#define STREAM_H

#include "answer.h"
#include "record.h"

/* The position of a stream: the number of rows of the selection's object that are done. */
struct position {
  size_t object;
  size_t row;
  /* All rows of the object are done. */
  bool whole;
};

struct stream {
  /* The next stream in the instance's list. */
  struct stream *next;
  uint64_t number;
  size_t users;
  bool pulling;

  /* The ReadRequest; only the current pull uses the other fields. */
  struct text request;
  char *bytes;
  int64_t deadline_us;
  bool begun;
  bool ended;
  /* Companies and contacts, or the failure. */
  struct table *tables[2];
  struct failure reasons[2];
  struct position position;
  int step;
  struct selection selection;
  size_t announced;
  uint64_t sequence;
};

/* A stream for a ReadRequest; null if there is no memory. */
struct stream *stream_new(struct text request, int64_t deadline_us);
void stream_free(struct stream *stream, struct context *context);
/* The next event, as an encoded StreamEvent. A stopped pull loses no event. */
void stream_event(struct stream *stream, struct context *context, struct stop stop, struct bytes *out);
/* The StreamEvent of a failure. */
void stream_failure(struct bytes *out, const struct failure *why);

#endif
