/* Leaves the slot cancel empty. */
#define CANCEL NULL
#include "base.h"
#include "entry.h"
