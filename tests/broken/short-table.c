/* Its table is shorter than that of version 1.0. */
#define SIZE 16
#include "base.h"
#include "entry.h"
