// One warm process of sharp; the same lines in and out as engine_child.py. Usage: node engine_sharp.mjs MODULES FOLDER
import { createRequire } from 'node:module'
import { statSync, mkdirSync } from 'node:fs'
import { createInterface } from 'node:readline'

const [modules, folder] = process.argv.slice(2)
const sharp = createRequire(modules + '/')('sharp')
mkdirSync(folder, { recursive: true })
sharp.cache(false)

for await (const photo of createInterface({ input: process.stdin })) {
  const cpu = process.cpuUsage(), wall = performance.now()
  let bytes = 0
  for (const size of [1280, 640, 200]) {
    const target = `${folder}/${size}.jpg`
    await sharp(photo).rotate().resize(size, size, { fit: 'inside', withoutEnlargement: true }).jpeg({ quality: 82 }).toFile(target)
    bytes += statSync(target).size
  }
  const used = process.cpuUsage(cpu)
  const answer = { cpu_ms: (used.user + used.system) / 1e3, wall_ms: performance.now() - wall, bytes, pid: process.pid }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
