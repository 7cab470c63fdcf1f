// Encodes faces: by a model's encoder, and by the steps of models/perceptual.py after it.

import { planes } from "./pictures.js";

// A first step goes so far towards the least error of a linear decoder.
const STRIDE = 0.6;

const network = (model, part) => ({
  name: `${model.name}, ${part}`,
  graph: `${model.about.kind}-${part}`,
  weights: model.weights,
});

/** Resolves to the latent of a face, RGBA of 64 x 64. Takes at most so many steps, each as long as three decodings. */
export async function encode(decoder, model, face, most = Infinity) {
  const x = { data: planes(face, 127.5), shape: [1, 3, 64, 64] };
  const encoded = await decoder.run(network(model, "encoder"), { x });
  let z = encoded.z.data;
  let [nearest, step, least, stride] = [z, null, Infinity, STRIDE];
  const steps = Math.min(most, model.about.encoding_steps ?? 0);
  for (let taken = 0; steps && taken <= steps; taken++) {
    const found = await decoder.run(network(model, "slope"), { x, z: { data: z, shape: [1, z.length] } });
    const error = found.error.data[0];
    // A step that makes the error larger is taken again, half as long.
    if (error < least) [nearest, step, least] = [z, found.step.data, error];
    else stride /= 2;
    z = nearest.map((value, i) => value - stride * step[i]);
  }
  return nearest;
}
