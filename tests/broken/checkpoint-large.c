/* Its checkpoints are larger than 64 KiB. */
#define CHECKPOINT_BYTES (64 * 1024)
#include "base.h"
#include "entry.h"
