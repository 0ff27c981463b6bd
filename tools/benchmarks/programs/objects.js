// JSON, maps of strings, buffers and a compressor: V8's own heap and malloc's.

const crypto = require('crypto');
const zlib = require('zlib');

let people = [];
for (let i = 0; i < 30000; ++i) {
  people.push({id: i, name: 'name ' + i, tags: [i % 7, i % 11, 'tag' + i % 97], at: [i / 3, i / 7]});
}
for (let i = 0; i < 3; ++i) people = JSON.parse(JSON.stringify(people));
const words = new Map();
for (let i = 0; i < 200000; ++i) {
  const key = 'word' + i * 7919 % 20011;
  words.set(key, (words.get(key) || 0) + i);
}
const hash = crypto.createHash('sha256');
hash.update(JSON.stringify(people)).update(JSON.stringify([...words]));
const kept = [];
for (let i = 0; i < 4000; ++i) {
  const buffer = Buffer.alloc(512 + i * 37 % 20000, i % 251);
  if (i % 8 === 0) kept.push(buffer);
  if (i % 20 === 0) hash.update(zlib.deflateSync(buffer));
}
hash.update(Buffer.concat(kept));
console.log(people.length, words.size, hash.digest('hex'));
