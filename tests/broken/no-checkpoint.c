/* Sends rows without end and without a checkpoint. */
#define COMPANIES 100000
#define IN_A_BATCH 2000
#define ENDS 0
#define CHECKPOINTS 0
#include "base.h"
#include "entry.h"
