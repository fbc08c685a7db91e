// Another implementation of logs (golang.org/x/mod/sumdb: note and tlog, as Debian packages them) reads a log of custodes, and writes one.
// It is run by test_another.py.
//
//	another verify DIR VKEY ENTRY-FILE PROOF-FILE OLD-CHECKPOINT   every entry, the proof, and that the log goes on from an older checkpoint
//	another write DIR ORIGIN SIZE                                  a log of entries "entry N", and entry 0's proof in DIR/entry.tlog-proof
package main

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	log.SetFlags(0)
	switch os.Args[1] {
	case "verify":
		verify(os.Args[2], os.Args[3], read(os.Args[4]), read(os.Args[5]), read(os.Args[6]))
	case "write":
		size, err := strconv.ParseInt(os.Args[4], 10, 64)
		must(err)
		write(os.Args[2], os.Args[3], size)
	}
}

// verify

func verify(dir, vkey string, entry, proof, older []byte) {
	verifier, err := note.NewVerifier(vkey)
	must(err)
	tree := opened(read(filepath.Join(dir, "checkpoint")), verifier)
	reader := tlog.TileHashReader(tree, &folder{dir, tree.N})

	for tile := int64(0); tile*256 < tree.N; tile++ {
		width := tree.N - tile*256
		if width > 256 {
			width = 256
		}
		data := read(filepath.Join(dir, path(tlog.Tile{H: 8, L: -1, N: tile, W: int(width)})))
		var indexes []int64
		for at := int64(0); at < width; at++ {
			indexes = append(indexes, tlog.StoredHashIndex(0, tile*256+at))
		}
		hashes, err := reader.ReadHashes(indexes)
		must(err)
		for at, hash := range hashes {
			length := int(binary.BigEndian.Uint16(data))
			row := data[2 : 2+length]
			data = data[2+length:]
			if hash != tlog.RecordHash(row) {
				log.Fatalf("entry %d is not what the tree stands for", tile*256+int64(at))
			}
		}
		if len(data) > 0 {
			log.Fatal("a bundle is longer than its entries")
		}
	}

	if old := opened(older, verifier); old.N > 0 {
		consistency, err := tlog.ProveTree(tree.N, old.N, reader)
		must(err)
		must(tlog.CheckTree(consistency, tree.N, tree.Hash, old.N, old.Hash))
	}
	checkProof(string(proof), entry, verifier)
	fmt.Printf("verified %d entries\n", tree.N)
}

func checkProof(text string, entry []byte, verifier note.Verifier) {
	text = strings.TrimPrefix(text, "c2sp.org/tlog-proof@v1\nindex ")
	head, checkpoint, found := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	index, err := strconv.ParseInt(lines[0], 10, 64)
	if !found || err != nil {
		log.Fatal("not a proof")
	}
	var hashes tlog.RecordProof
	for _, line := range lines[1:] {
		hash, err := tlog.ParseHash(line)
		must(err)
		hashes = append(hashes, hash)
	}
	tree := opened([]byte(checkpoint), verifier)
	must(tlog.CheckRecord(hashes, tree.N, tree.Hash, index, tlog.RecordHash(entry)))
}

func opened(data []byte, verifier note.Verifier) tlog.Tree {
	found, err := note.Open(data, note.VerifierList(verifier))
	must(err)
	lines := strings.Split(found.Text, "\n")
	if lines[0] != verifier.Name() {
		log.Fatal("a checkpoint of another log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err)
	hash, err := tlog.ParseHash(lines[2])
	must(err)
	return tlog.Tree{N: size, Hash: hash}
}

type folder struct {
	dir  string
	size int64
}

func (f *folder) Height() int                         { return 8 }
func (f *folder) SaveTiles(_ []tlog.Tile, _ [][]byte) {}
func (f *folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(filepath.Join(f.dir, path(tile)))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

// write

type stored []tlog.Hash

func (s *stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var found []tlog.Hash
	for _, index := range indexes {
		found = append(found, (*s)[index])
	}
	return found, nil
}

func write(dir, origin string, size int64) {
	var hashes stored
	var bundle bytes.Buffer
	for number := int64(0); number < size; number++ {
		row := []byte(fmt.Sprintf("entry %d", number))
		more, err := tlog.StoredHashes(number, row, &hashes)
		must(err)
		hashes = append(hashes, more...)
		must(binary.Write(&bundle, binary.BigEndian, uint16(len(row))))
		bundle.Write(row)
		if number%256 == 255 || number == size-1 {
			put(dir, path(tlog.Tile{H: 8, L: -1, N: number / 256, W: int(number%256) + 1}), bundle.Bytes())
			bundle.Reset()
		}
	}
	for _, tile := range tlog.NewTiles(8, 0, size) {
		data, err := tlog.ReadTileData(tile, &hashes)
		must(err)
		put(dir, path(tile), data)
	}
	root, err := tlog.TreeHash(size, &hashes)
	must(err)

	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	must(err)
	signer, err := note.NewSigner(skey)
	must(err)
	signed, err := note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%d\n%s\n", origin, size, root)}, signer)
	must(err)
	put(dir, "checkpoint", signed)

	proof, err := tlog.ProveRecord(size, 0, &hashes)
	must(err)
	text := "c2sp.org/tlog-proof@v1\nindex 0\n"
	for _, hash := range proof {
		text += hash.String() + "\n"
	}
	put(dir, "entry.tlog-proof", []byte(text+"\n"+string(signed)))
	fmt.Println(vkey)
}

// both

// path is where C2SP tlog-tiles has a tile; the package has its own, older, paths.
func path(tile tlog.Tile) string {
	text := strings.TrimPrefix(tile.Path(), "tile/8/")
	return "tile/" + strings.Replace(text, "data/", "entries/", 1)
}

func put(dir, name string, data []byte) {
	where := filepath.Join(dir, name)
	must(os.MkdirAll(filepath.Dir(where), 0o755))
	must(os.WriteFile(where, data, 0o644))
}

func read(name string) []byte {
	data, err := os.ReadFile(name)
	must(err)
	return data
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
