"use strict";
/* Embedded meshes: decoding, normals, feature edges. Everything follows from positions. */

const CREASE = Math.cos((28 * Math.PI) / 180);

const minus = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) =>
  [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = (a) => { const l = Math.hypot(a[0], a[1], a[2]) || 1; return a.map((x) => x / l); };

/* {vertices: Float32Array (3V), triangles: Uint32Array (3T)} of an embedded mesh. */
function decodeMesh(element) {
  const raw = atob(element.textContent);
  const bytes = Uint8Array.from(raw, (sign) => sign.charCodeAt(0));
  const nVertices = Number(element.dataset.vertices), nTriangles = Number(element.dataset.triangles);
  return {
    vertices: new Float32Array(bytes.buffer, 0, 3 * nVertices),
    triangles: new Uint32Array(bytes.buffer, 12 * nVertices, 3 * nTriangles),
  };
}

/* Unit normal and area of each triangle, from positions. */
function faceNormals(mesh) {
  const count = mesh.triangles.length / 3;
  const normals = new Float32Array(3 * count), areas = new Float32Array(count);
  const at = (i) => mesh.vertices.subarray(3 * i, 3 * i + 3);
  for (let t = 0; t < count; t++) {
    const [a, b, c] = mesh.triangles.subarray(3 * t, 3 * t + 3);
    const n = cross(minus(at(b), at(a)), minus(at(c), at(a)));
    areas[t] = Math.hypot(...n) / 2;
    normals.set(unit(n), 3 * t);
  }
  return { normals, areas };
}

/* Lines where two faces meet at more than the crease angle. */
function featureEdges(mesh, normals) {
  const first = new Map(), lines = [];
  const size = mesh.vertices.length / 3;
  for (let t = 0; t < mesh.triangles.length / 3; t++) {
    for (let k = 0; k < 3; k++) {
      const a = mesh.triangles[3 * t + k], b = mesh.triangles[3 * t + ((k + 1) % 3)];
      const key = Math.min(a, b) * size + Math.max(a, b);
      const other = first.get(key);
      if (other === undefined) { first.set(key, t); continue; }
      const cosine = dot(normals.subarray(3 * t, 3 * t + 3), normals.subarray(3 * other, 3 * other + 3));
      if (cosine < CREASE) {
        lines.push(...mesh.vertices.subarray(3 * a, 3 * a + 3), ...mesh.vertices.subarray(3 * b, 3 * b + 3));
      }
    }
  }
  return new Float32Array(lines);
}

/* Corner positions and normals: one normal per face, or averaged over faces below the crease. */
function corners(mesh, { normals, areas }, smooth) {
  const count = mesh.triangles.length;
  const positions = new Float32Array(3 * count), out = new Float32Array(3 * count);
  const around = new Map();
  if (smooth) {
    mesh.triangles.forEach((vertex, i) => {
      const list = around.get(vertex);
      if (list) list.push(Math.floor(i / 3)); else around.set(vertex, [Math.floor(i / 3)]);
    });
  }
  for (let i = 0; i < count; i++) {
    const vertex = mesh.triangles[i], face = Math.floor(i / 3);
    positions.set(mesh.vertices.subarray(3 * vertex, 3 * vertex + 3), 3 * i);
    const own = normals.subarray(3 * face, 3 * face + 3);
    if (!smooth) { out.set(own, 3 * i); continue; }
    const sum = [0, 0, 0];
    for (const other of around.get(vertex)) {
      const n = normals.subarray(3 * other, 3 * other + 3);
      if (dot(own, n) >= CREASE) for (let k = 0; k < 3; k++) sum[k] += n[k] * areas[other];
    }
    out.set(unit(sum), 3 * i);
  }
  return { positions, normals: out };
}
