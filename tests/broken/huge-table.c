/* States that its table is larger than the available size. */
#define SIZE 4096
#include "base.h"
#include "entry.h"
