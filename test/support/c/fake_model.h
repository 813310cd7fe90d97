/* Four models written by hand, in the shape that the compiler gives its code; fake_model.py writes their files. */
#ifndef FAKE_MODEL_H
#define FAKE_MODEL_H

#include "espalier.h"

/* x f32 [2, 3] -> y f32 [2, 3], positives i64 [2]: y[i] = p[i] + p[i + 1] with p = weights * x, in two steps with a
   barrier between. Its one assertion: x[0] <= 1000. */
extern const espalier_code espalier_model_affine;

/* x f32 [steps, 2], start f32 [2] -> sums f32 [steps, 2], from the last step to the first; on one thread. */
extern const espalier_code espalier_model_sums;

/* x [elements], of any dtype -> y, its recorded value: weights are the bytes of an element and y as it comes out. Who
   uses it fills in the types and the size of the weights. */
extern const espalier_code espalier_model_replay;

/* x f32 [2] -> y f32 [2]; states total f32 [2] and runs i64 []: y and the new total are total + x. Its one assertion, at
   the end: x[0] <= 1000. */
extern const espalier_code espalier_model_running;

#endif
