/* Its checkpoints count backwards. */
#define SEQUENCE(n) (4 - (n))
#include "base.h"
#include "entry.h"
