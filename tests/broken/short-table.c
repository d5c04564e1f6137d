/* Its table is shorter than version 1.0's. */
#define SIZE 16
#include "base.h"
#include "entry.h"
