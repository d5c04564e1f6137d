/*
 * tether_connector.h: the interface between the tether host and a connector library, version 1.
 *
 * A connector is a dynamic library that exports one function, tether_connector_v1. All data that passes through the
 * tables below are protobuf messages of tether.connector.v1 (proto/tether/connector/v1/connector.proto); this header
 * defines how their bytes are passed. Connectors in Rust use the crate tether-connector-sdk and do not need this header.
 *
 * VERSIONS
 *   The major version is in the name of the symbol. A newer minor version only adds members at the end of the tables.
 *   Each table begins with its size; never read beyond the peer's size, never write beyond the available size. Optional
 *   features are named in the messages (OpenRequest.host_features, DescribeResponse.features); unknown names are ignored.
 *   A library that cannot work with a host returns an error from tether_connector_v1.
 *
 * LIFE
 *   load -> tether_connector_v1 -> open -> any number of calls and streams -> close. A library is never unloaded: its
 *   functions and threads stay valid until the process ends. Several instances may be open at a time, and
 *   tether_connector_v1 may be called more than once.
 *
 * HANDLES
 *   Instances, calls and streams are numbers. The receiving side looks a number up in its own table; an unknown number
 *   (closed, or never issued) is ignored, or answered with an error if the function has an answer. Pointers are never
 *   used as handles.
 *
 * THREADS
 *   Every function of both tables may be called from any thread and at the same time as any other, and returns soon:
 *   within microseconds, without waiting for the network or for another call. open and close may take seconds; the host
 *   calls them on threads that may block. close waits for the instance's own work, so it is never called from a thread of
 *   the library. The library must not hold a lock that its own functions need while it calls complete.
 *
 * COMPLETIONS
 *   call and stream_next are answered through complete: exactly once, from any thread, possibly before the function has
 *   returned. Inside complete the host may call any function of the library except open and close. The host ignores an
 *   unexpected answer (a second or late one), but frees its buffer. Deadlines are in the request; the library enforces
 *   them, and the host stops waiting shortly afterwards. cancel requests an early answer, best effort.
 *
 * STREAMS
 *   A stream is opened by a call (ReadRequest) and read with stream_next, one pull at a time. The library may prepare a
 *   limited number of events in advance. After the last event (End, Error) the host calls stream_close; it may also call
 *   it at any other time.
 *
 * MEMORY
 *   A tether_slice is borrowed: it is valid until the function that receives it returns. A tether_buffer is owned by the
 *   side that holds it: any number of threads may read it; it is then freed once, on any thread, by calling its free with
 *   its other members. A buffer with a null free needs no freeing. Data of length 0 may be null.
 *
 * FAILURES
 *   Exceptions and panics must not leave the functions of either side. A library that has caught one in an instance's
 *   code answers that call with an error of the kind BUG, answers every later call of that instance in the same way, and
 *   reports TETHER_EVENT_POISONED. The host then closes the instance and opens another.
 */
/* Generated from the Rust types in connectors/abi/src by cbindgen; checked in for review. Change the types instead. */


#ifndef TETHER_CONNECTOR_H
#define TETHER_CONNECTOR_H

#include <stddef.h>
#include <stdint.h>

// The minor version of this header. A newer minor version only adds members at the end of the tables.
#define TETHER_CONNECTOR_MINOR 0

// The size of tether_host_api in minor version 0, in bytes: the smallest size of any host.
#define TETHER_HOST_API_SIZE_0 48

// The size of tether_connector_api in minor version 0, in bytes: the smallest size of any library.
#define TETHER_CONNECTOR_API_SIZE_0 56

// A result of open and tether_connector_v1: success.
#define TETHER_OK 0

// A result of open and tether_connector_v1: failure; the buffer has an encoded tether.connector.v1.Error.
#define TETHER_ERROR 1

// A log level: an unexpected failure.
#define TETHER_LOG_ERROR 1

// A log level: an unusual condition.
#define TETHER_LOG_WARN 2

// A log level: an ordinary event.
#define TETHER_LOG_INFO 3

// A log level: details for debugging.
#define TETHER_LOG_DEBUG 4

// A log level: everything.
#define TETHER_LOG_TRACE 5

// An event for notify: the instance caught a panic and processes no more calls. The host closes it and may open
// another one.
#define TETHER_EVENT_POISONED 1

// Owned bytes. Passing a buffer passes its ownership. The owner frees it once, on any thread, with the function in
// it, which the side that created the buffer has set. A buffer without a function needs no freeing.
typedef struct tether_buffer {
  // The first byte.
  uint8_t *data;
  // The number of bytes.
  size_t len;
  // Data for free, set by the creator of the buffer: a number, or a pointer as a number.
  size_t owner;
  // Frees the buffer. The arguments are its other members.
  void (*free)(uint8_t *data, size_t len, size_t owner);
} tether_buffer;

// Borrowed bytes: valid until the function that receives them returns. A null pointer or a length of 0 means no
// bytes.
typedef struct tether_slice {
  // The first byte.
  const uint8_t *data;
  // The number of bytes.
  size_t len;
} tether_slice;

// The functions of the host. The library copies the table during the handshake; the functions stay valid until the
// process ends.
typedef struct tether_host_api {
  // The size of the table in the host's version.
  uint32_t struct_size;
  // The minor version of the host.
  uint32_t minor;
  // The least important level that the host logs; less important lines need not be sent.
  uint32_t max_log_level;
  // Zero.
  uint32_t reserved;
  // Answers a call with an encoded CallResponse, a pull with an encoded StreamEvent. The buffer then belongs to the
  // host.
  void (*complete)(uint64_t call, struct tether_buffer answer);
  // Logs a line of UTF-8 without secrets. instance is the host_instance of open, or 0 for none.
  void (*log)(uint64_t instance, uint32_t level, struct tether_slice target, struct tether_slice message);
  // The current time, in unix microseconds.
  int64_t (*now_us)(void);
  // Reports an event of an instance, by the host_instance of open.
  void (*notify)(uint64_t instance, uint32_t event);
} tether_host_api;

// The functions of a library. All six must be set, and stay valid until the process ends: a library is never
// unloaded.
typedef struct tether_connector_api {
  // The size of the table: on entry the available size, on return the filled size.
  uint32_t struct_size;
  // The minor version of the library.
  uint32_t minor;
  // Opens an instance with an encoded OpenRequest; host_instance is the host's number for it. On TETHER_OK *out is a
  // number other than 0, on TETHER_ERROR *err is filled. Several instances may be open at a time.
  int32_t (*open)(uint64_t host_instance, struct tether_slice request, uint64_t *out, struct tether_buffer *err);
  // Starts a call with an encoded CallRequest. The host uses each number only once per process, for calls and pulls
  // together.
  void (*call)(uint64_t instance, uint64_t call, struct tether_slice request);
  // Cancels a call or pull. It is still answered, with CANCELLED if the answer was not ready. May be called for any
  // number, any number of times. A cancelled pull loses no event.
  void (*cancel)(uint64_t instance, uint64_t call);
  // Requests the next event of a stream with an encoded StreamNext. One pull per stream at a time.
  void (*stream_next)(uint64_t instance, uint64_t call, uint64_t stream, struct tether_slice request);
  // Closes a stream at any point; its open pull is answered. May be called for any number, any number of times.
  void (*stream_close)(uint64_t instance, uint64_t stream);
  // Closes an instance: every open call is answered before this function returns, none afterwards. May be called for
  // any number, any number of times.
  void (*close)(uint64_t instance);
} tether_connector_api;

// The type of the exported function.
//
// The library copies what it needs of host; both tables are valid until the function returns. On entry
// out_api->struct_size is the available size, on return the size that the library has filled. It may be called
// more than once. On any result except TETHER_OK *err is filled and *out_api is not read.
typedef int32_t (*tether_connector_entry)(const struct tether_host_api *host,
                                          struct tether_connector_api *out_api,
                                          struct tether_buffer *err);

#endif  /* TETHER_CONNECTOR_H */


#ifdef __cplusplus
extern "C"
#endif
// The exported function.
int32_t tether_connector_v1(const tether_host_api *host, tether_connector_api *out_api, tether_buffer *err);
