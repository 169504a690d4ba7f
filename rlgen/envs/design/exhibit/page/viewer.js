/* 3D view of one mesh: plain WebGL 1, no library. A light body with feature edges on a grid. */

const LOOKS = { corner: [Math.PI / 4, 0.6155], front: [0, 0.02], side: [Math.PI / 2, 0.02], top: [0, 1.57] };

const BODY_VERTEX = `
attribute vec3 position, normal;
uniform mat4 camera, place;
varying vec3 facing;
varying vec2 ground;
void main() {
  facing = normal;
  ground = position.xy;
  gl_Position = camera * place * vec4(position, 1.0);
}`;

const BODY_FRAGMENT = `
precision mediump float;
uniform vec4 colour;
uniform vec3 right, up, back;
uniform float lit, reach;
varying vec3 facing;
varying vec2 ground;
void main() {
  if (lit < 0.5) {
    float far = length(ground) / reach;
    gl_FragColor = vec4(colour.rgb, colour.a * (1.0 - smoothstep(0.35, 1.0, far)));
    return;
  }
  if (lit > 1.5) { gl_FragColor = colour; return; }
  vec3 n = normalize(facing);
  vec3 seen = vec3(dot(n, right), dot(n, up), dot(n, back));
  float key = max(dot(seen, normalize(vec3(-0.50, 0.25, 0.83))), 0.0);
  float fill = max(dot(seen, normalize(vec3(0.85, 0.10, 0.50))), 0.0);
  float light = 0.46 + 0.50 * key + 0.12 * fill + n.z * (n.z > 0.0 ? 0.14 : 0.06);
  gl_FragColor = vec4(colour.rgb * min(light, 1.0), colour.a);
}`;

/* Column-major 4x4 matrices. */
function product(a, b) {
  const out = new Float32Array(16);
  for (let i = 0; i < 16; i++) {
    const row = i % 4, column = i - row;
    for (let k = 0; k < 4; k++) out[i] += a[row + 4 * k] * b[column + k];
  }
  return out;
}

const IDENTITY = new Float32Array([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]);

function perspective(angle, aspect, near, far) {
  const f = 1 / Math.tan(angle / 2);
  const sum = (far + near) / (near - far), twice = (2 * far * near) / (near - far);
  return new Float32Array([f / aspect, 0, 0, 0, 0, f, 0, 0, 0, 0, sum, -1, 0, 0, twice, 0]);
}

function gridLines(reach, step) {
  const lines = [];
  for (let at = -reach; at <= reach; at += step) {
    lines.push(at, -reach, 0, at, reach, 0, -reach, at, 0, reach, at, 0);
  }
  return new Float32Array(lines);
}

function parseColour(text) {
  const value = parseInt(text.trim().slice(1), 16);
  return [(value >> 16) / 255, ((value >> 8) & 255) / 255, (value & 255) / 255];
}

class Viewer {
  /* Throws when the browser has no WebGL. */
  constructor(canvas) {
    this.canvas = canvas;
    this.gl = canvas.getContext("webgl", { antialias: true, stencil: true, alpha: true });
    if (!this.gl) throw new Error("no WebGL");
    this.smooth = false;
    this.mesh = null;
    this.look("corner");
    this.prepare();
    this.listen();
    new ResizeObserver(() => this.request()).observe(canvas);
  }

  prepare() {
    const gl = this.gl, program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, BODY_VERTEX], [gl.FRAGMENT_SHADER, BODY_FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error("shaders do not link");
    gl.useProgram(program);
    this.at = { position: gl.getAttribLocation(program, "position"), normal: gl.getAttribLocation(program, "normal") };
    this.uniforms = {};
    for (const name of ["camera", "place", "colour", "right", "up", "back", "lit", "reach"]) {
      this.uniforms[name] = gl.getUniformLocation(program, name);
    }
    this.buffers = {};
    for (const name of ["positions", "normals", "edges", "grid"]) this.buffers[name] = gl.createBuffer();
  }

  show(mesh) {
    this.mesh = mesh;
    this.faces = faceNormals(mesh);
    this.edges = featureEdges(mesh, this.faces.normals);
    const low = [Infinity, Infinity, Infinity], high = low.map((x) => -x);
    mesh.vertices.forEach((x, i) => {
      low[i % 3] = Math.min(low[i % 3], x);
      high[i % 3] = Math.max(high[i % 3], x);
    });
    const known = mesh.vertices.length > 0;
    this.centre = known ? low.map((x, i) => (x + high[i]) / 2) : [0, 0, 0];
    this.radius = known ? Math.max(Math.hypot(...minus(high, low)) / 2, 1) : 40;
    this.reach = Math.max(60, 10 * Math.ceil(this.radius / 5));
    this.grid = gridLines(this.reach, 10);
    this.upload();
  }

  upload() {
    if (!this.buffers) return; // the context is lost; it comes back here when restored
    const gl = this.gl;
    const filled = corners(this.mesh, this.faces, this.smooth);
    this.count = filled.positions.length / 3;
    const arrays = { ...filled, edges: this.edges, grid: this.grid };
    for (const [name, array] of Object.entries(arrays)) {
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
      gl.bufferData(gl.ARRAY_BUFFER, array, gl.STATIC_DRAW);
    }
    this.request();
  }

  look(name) {
    [this.azimuth, this.elevation] = LOOKS[name];
    this.zoom = 1;
    this.request();
  }

  rotate(across, upwards) {
    this.azimuth -= across;
    this.elevation = Math.min(1.57, Math.max(-1.57, this.elevation + upwards));
    this.request();
  }

  scale(factor) {
    this.zoom = Math.min(6, Math.max(0.4, this.zoom * factor));
    this.request();
  }

  setSmooth(on) {
    this.smooth = on;
    if (this.mesh) this.upload();
  }

  setTurning(on) {
    this.turning = on;
    this.last = 0;
    this.request();
  }

  request() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame((now) => {
      this.waiting = false;
      if (this.turning) {
        if (this.last) this.azimuth += (Math.min(now - this.last, 100) / 1000) * 0.6;
        this.last = now;
        this.request();
      }
      if (this.mesh && this.buffers) this.draw();
    });
  }

  lines(buffer, count, colour, lit) {
    const gl = this.gl;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[buffer]);
    gl.vertexAttribPointer(this.at.position, 3, gl.FLOAT, false, 0, 0);
    gl.uniform4fv(this.uniforms.colour, colour);
    gl.uniform1f(this.uniforms.lit, lit);
    gl.drawArrays(gl.LINES, 0, count);
  }

  body(place, colour, lit) {
    const gl = this.gl;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers.positions);
    gl.vertexAttribPointer(this.at.position, 3, gl.FLOAT, false, 0, 0);
    gl.enableVertexAttribArray(this.at.normal);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers.normals);
    gl.vertexAttribPointer(this.at.normal, 3, gl.FLOAT, false, 0, 0);
    gl.uniformMatrix4fv(this.uniforms.place, false, place);
    gl.uniform4fv(this.uniforms.colour, colour);
    gl.uniform1f(this.uniforms.lit, lit);
    gl.drawArrays(gl.TRIANGLES, 0, this.count);
    gl.disableVertexAttribArray(this.at.normal);
  }

  /* Projection times view; things come nearer by `pull` mm without moving on the screen. */
  camera(pull) {
    const { azimuth: a, elevation: e } = this;
    this.back = [Math.sin(a) * Math.cos(e), -Math.cos(a) * Math.cos(e), Math.sin(e)];
    this.right = [Math.cos(a), Math.sin(a), 0];
    this.up = cross(this.back, this.right);
    const angle = 0.42, aspect = this.canvas.width / this.canvas.height || 1;
    const distance = (1.12 * this.radius) / Math.sin(angle / 2) / Math.min(aspect, 1) / this.zoom;
    const eye = this.centre.map((x, i) => x + distance * this.back[i]);
    const { right: r, up: u, back: b } = this;
    const view = new Float32Array([r[0], u[0], b[0], 0, r[1], u[1], b[1], 0, r[2], u[2], b[2], 0,
      -dot(r, eye), -dot(u, eye), -dot(b, eye), 1]);
    const depth = this.radius + 1.2 * this.reach;
    const near = Math.max(distance - depth, distance / 20), far = distance + depth;
    const out = perspective(angle, aspect, near, far);
    out[10] += (pull * 2 * far * near) / ((far - near) * distance * distance);
    return product(out, view);
  }

  draw() {
    const gl = this.gl, { canvas } = this;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const style = getComputedStyle(canvas);
    const body = parseColour(style.getPropertyValue("--body"));
    const ink = parseColour(style.getPropertyValue("--edge"));
    const grid = parseColour(style.getPropertyValue("--grid"));
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT | gl.STENCIL_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.blendFuncSeparate(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA, gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.enableVertexAttribArray(this.at.position);
    gl.uniformMatrix4fv(this.uniforms.camera, false, this.camera(0));
    for (const name of ["right", "up", "back"]) gl.uniform3fv(this.uniforms[name], this[name]);
    gl.uniform1f(this.uniforms.reach, this.reach);
    this.floor(grid);
    this.body(IDENTITY, [...body, 1], 1);
    gl.uniformMatrix4fv(this.uniforms.camera, false, this.camera(0.3));
    this.lines("edges", this.edges.length / 3, [...ink, 0.75], 2);
  }

  /* Grid of 10 mm and the body's shadow, which the stencil keeps from darkening itself. */
  floor(grid) {
    const gl = this.gl;
    gl.depthMask(false);
    gl.uniformMatrix4fv(this.uniforms.place, false, IDENTITY);
    this.lines("grid", this.grid.length / 3, [...grid, 0.2], 0);
    if (this.elevation > 0.01) {
      gl.enable(gl.STENCIL_TEST);
      gl.stencilFunc(gl.EQUAL, 0, 255);
      gl.stencilOp(gl.KEEP, gl.KEEP, gl.INCR);
      const shadow = new Float32Array([1, 0, 0, 0, 0, 1, 0, 0, 0.17, 0.3, 0, 0, 0, 0, -0.05, 1]);
      this.body(shadow, [0, 0, 0, 0.2], 2);
      gl.disable(gl.STENCIL_TEST);
    }
    gl.depthMask(true);
  }

  listen() {
    const canvas = this.canvas, down = new Map();
    const spread = () => {
      const [a, b] = [...down.values()];
      return Math.hypot(a.x - b.x, a.y - b.y);
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = down.get(event.pointerId);
      if (!before) return;
      const wide = down.size === 2 ? spread() : 0;
      down.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (down.size === 2) this.scale(spread() / (wide || 1));
      else this.rotate((event.clientX - before.x) * 0.01, (event.clientY - before.y) * 0.01);
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => down.delete(event.pointerId));
    }
    canvas.addEventListener("wheel", (event) => {
      // Scrolling past the view must stay possible: it zooms once it was clicked, or with Ctrl.
      if (document.activeElement !== canvas && !event.ctrlKey) return;
      event.preventDefault();
      this.scale(Math.exp(-event.deltaY * 0.0015));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const keys = {
        ArrowLeft: () => this.rotate(-0.15, 0), ArrowRight: () => this.rotate(0.15, 0),
        ArrowUp: () => this.rotate(0, 0.15), ArrowDown: () => this.rotate(0, -0.15),
        "+": () => this.scale(1.15), "=": () => this.scale(1.15), "-": () => this.scale(1 / 1.15),
        0: () => this.look("corner"),
      };
      if (!keys[event.key] || event.ctrlKey || event.metaKey) return;
      keys[event.key]();
      event.preventDefault();
    });
    canvas.addEventListener("webglcontextrestored", () => {
      this.prepare();
      if (this.mesh) this.upload();
    });
    canvas.addEventListener("webglcontextlost", (event) => {
      event.preventDefault();
      this.buffers = null;
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.request());
  }
}
